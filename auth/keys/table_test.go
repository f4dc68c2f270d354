package keys_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookfleet/hookfleet/auth/keys"
)

func TestTable(t *testing.T) {
	t.Parallel()
	var table keys.Table
	id, text := keys.Generate()
	if _, ok := table.Lookup(text.Reveal()); ok {
		t.Error("an empty table knows a key")
	}
	table.Remove(id)
	k := &keys.Key{ID: id, Role: keys.Producer, Hash: keys.HashOf(text.Reveal())}
	table.Put(k)
	if got, ok := table.Lookup(text.Reveal()); !ok || got != k {
		t.Errorf("got %v, %v", got, ok)
	}
	for _, wrong := range []string{"", text.Reveal() + "0", text.Reveal()[1:], id} {
		if _, ok := table.Lookup(wrong); ok {
			t.Errorf("%q is a key", wrong)
		}
	}
	table.Replace(nil)
	if _, ok := table.Lookup(text.Reveal()); ok {
		t.Error("a replaced table knows the old key")
	}
}

// Any order of changes leaves what a plain map would hold.
func TestTableAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var table keys.Table
		model := map[string]string{} // id → text
		ids, texts := rapid.SampledFrom([]string{"a", "b", "c"}), rapid.SampledFrom([]string{"1", "2", "3", "4"})
		put := func(id, text string) *keys.Key {
			for other, same := range model {
				if same == text {
					delete(model, other)
				}
			}
			model[id] = text
			return &keys.Key{ID: id, Hash: keys.HashOf(text)}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put":    func(t *rapid.T) { table.Put(put(ids.Draw(t, "id"), texts.Draw(t, "text"))) },
			"remove": func(t *rapid.T) { id := ids.Draw(t, "id"); delete(model, id); table.Remove(id) },
			"replace": func(t *rapid.T) {
				clear(model)
				var list []*keys.Key
				for range rapid.IntRange(0, 4).Draw(t, "n") {
					list = append(list, put(ids.Draw(t, "id"), texts.Draw(t, "text")))
				}
				table.Replace(list)
			},
			"": func(t *rapid.T) {
				for _, text := range []string{"1", "2", "3", "4"} {
					k, ok := table.Lookup(text)
					id := ""
					for i, s := range model {
						if s == text {
							id = i
						}
					}
					if ok != (id != "") || ok && k.ID != id {
						t.Fatalf("text %s: %v, want id %q", text, k, id)
					}
				}
			},
		})
	})
}

func TestTableConcurrentUse(t *testing.T) {
	t.Parallel()
	var table keys.Table
	stays := &keys.Key{ID: "stays", Hash: keys.HashOf("stays")}
	table.Put(stays)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 200 {
				id := fmt.Sprint(i, "-", j)
				table.Put(&keys.Key{ID: id, Hash: keys.HashOf(id)})
				if _, ok := table.Lookup(id); !ok {
					t.Error("a key is not there after Put")
				}
				if _, ok := table.Lookup("stays"); !ok {
					t.Error("another's change lost a key")
				}
				table.Remove(id)
			}
		})
	}
	wg.Wait()
}

func BenchmarkLookup(b *testing.B) {
	var table keys.Table
	var list []*keys.Key
	for i := range 1000 {
		list = append(list, &keys.Key{ID: fmt.Sprint(i), Hash: keys.HashOf(fmt.Sprint(i))})
	}
	_, text := keys.Generate()
	table.Replace(slices.Concat(list, []*keys.Key{{ID: "x", Hash: keys.HashOf(text.Reveal())}}))
	b.ReportAllocs()
	for b.Loop() {
		table.Lookup(text.Reveal())
	}
}
