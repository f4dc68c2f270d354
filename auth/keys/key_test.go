package keys_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/keys"
)

// The table of roles, as the contract has it.
func TestRoles(t *testing.T) {
	t.Parallel()
	type may struct{ Publish, Feed, Manage, Read, Operate bool }
	ask := func(k *keys.Key, tenant string) may {
		return may{k.MayPublish(tenant, "order.status"), k.MayFeed(tenant), k.MayManage(tenant), k.MayRead(tenant), k.MayOperate()}
	}
	for name, tt := range map[string]struct {
		key        keys.Key
		own, other may // of acme, of another tenant
	}{
		"operator": {keys.Key{Role: keys.Operator}, may{true, true, true, true, true}, may{true, true, true, true, true}},
		"producer": {keys.Key{Role: keys.Producer, Tenants: []string{"b", "acme"}}, may{Publish: true, Feed: true}, may{}},
		"partner":  {keys.Key{Role: keys.Partner, Tenants: []string{"acme"}}, may{Manage: true, Read: true}, may{}},
		"no role":  {keys.Key{Tenants: []string{"acme"}}, may{}, may{}},
		"new role": {keys.Key{Role: "admin", Tenants: []string{"acme"}}, may{}, may{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.own, ask(&tt.key, "acme")); diff != "" {
				t.Error(diff)
			}
			for _, other := range []string{"other", "default", "", "acm", "acme2", "*"} {
				if diff := cmp.Diff(tt.other, ask(&tt.key, other)); diff != "" {
					t.Error(other, diff)
				}
			}
		})
	}
}

func TestNoTenantIsTheDefaultOne(t *testing.T) {
	t.Parallel()
	k := keys.Key{Role: keys.Producer}
	if !k.MayPublish("default", "x") || k.MayPublish("acme", "x") || k.MayPublish("", "x") {
		t.Error("a producer without tenants is for another than default")
	}
	if diff := cmp.Diff([]string{"default"}, k.Scope()); diff != "" {
		t.Error(diff)
	}
	if s := (&keys.Key{Role: keys.Operator}).Scope(); s != nil {
		t.Errorf("an operator's scope is %v", s)
	}
	if home := (&keys.Key{Role: keys.Partner, Tenants: []string{"acme"}}).Home(); home != "acme" {
		t.Errorf("a partner's home is %s", home)
	}
	if home := (&keys.Key{Role: keys.Producer, Tenants: []string{"acme"}}).Home(); home != "default" {
		t.Errorf("a producer's home is %s", home)
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	k := keys.Key{Role: keys.Producer, Tenants: []string{"acme"}, Types: []string{"order.status", "order.refund.*"}}
	for typ, want := range map[string]bool{
		"order.status": true, "order.refund.done": true, "order.refund.a.b": true,
		"order": false, "order.status.x": false, "order.statu": false, "order.refund": false, "order.refunds.x": false, "order.refund*": false, "": false, "*": false,
	} {
		if got := k.MayPublish("acme", typ); got != want {
			t.Errorf("%q: %v, want %v", typ, got, want)
		}
	}
	k.Types = []string{"order."}
	for typ, want := range map[string]bool{"order.a": true, "order.a.b": true, "order": false, "orders.a": false} {
		if got := k.MayPublish("acme", typ); got != want {
			t.Errorf("with a type that ends with a dot, %q: %v, want %v", typ, got, want)
		}
	}
	if k.MayPublish("other", "order.status") {
		t.Error("the type opens another tenant")
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		key    keys.Key
		faults []string
	}{
		"operator":        {keys.Key{Role: keys.Operator, Description: "x"}, nil},
		"producer":        {keys.Key{Role: keys.Producer, Tenants: []string{"a", "0_-"}, Types: []string{"a", "a.b.*", "Ä/x"}}, nil},
		"bare producer":   {keys.Key{Role: keys.Producer}, nil},
		"partner":         {keys.Key{Role: keys.Partner, Tenants: []string{"a"}}, nil},
		"no role":         {keys.Key{}, []string{"role"}},
		"unknown role":    {keys.Key{Role: "root"}, []string{"role"}},
		"bound operator":  {keys.Key{Role: keys.Operator, Tenants: []string{"a"}}, []string{"tenants: an operator key has none"}},
		"wide partner":    {keys.Key{Role: keys.Partner, Tenants: []string{"a", "b"}, Types: []string{"x"}}, []string{"tenants: a partner key has exactly one", "types: only a producer"}},
		"partner of none": {keys.Key{Role: keys.Partner}, []string{"exactly one"}},
		"all at once": {
			keys.Key{Role: "x", Tenants: []string{"ok", "", "A", "-a", "ok", "*", strings.Repeat("a", 64)}, Types: []string{"", "*", ".*", "a.*.b", "a b", "a\n", strings.Repeat("a", 300)}, Description: strings.Repeat("x", 2000)},
			[]string{"role", "tenants/1", "tenants/2", "tenants/3", "tenants/4: is there twice", "tenants/5", "tenants/6", "types/0", "types/1", "types/2", "types/3", "types/4", "types/5", "types/6", "description"},
		},
		"too many": {keys.Key{Role: keys.Producer, Types: make([]string, 101)}, []string{"at most"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tt.key.Validate()
			if (err == nil) != (tt.faults == nil) {
				t.Fatalf("%v, want faults %v", err, tt.faults)
			}
			for _, want := range tt.faults {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not among the faults:\n%v", want, err)
				}
			}
		})
	}
}

func TestJSONHasNoHash(t *testing.T) {
	t.Parallel()
	k := keys.Key{ID: "key_1", Role: keys.Producer, Tenants: []string{"acme"}, Types: []string{"order.*"}, Hash: keys.HashOf("x"), CreatedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	got, err := json.Marshal(&k)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"key_1","role":"producer","tenants":["acme"],"types":["order.*"],"createdat":"2026-01-01T00:00:00Z"}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}
