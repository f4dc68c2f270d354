package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/keys"
	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

// schemas turns Go types into JSON schemas (2020-12, as OpenAPI 3.1 takes them), named structs by reference. What the
// API answers and takes is described by the types that it is encoded from and decoded into, so the two cannot drift
// apart.
type schemas struct {
	named map[string]any // components/schemas
	input bool           // what is taken, of which little is required
}

// required are the members that input must have.
var required = map[string]bool{
	"newKey.role": true, "ResponseRule.status": true, "ResponseRule.action": true, "Credential.credentialtype": true,
	"StatusSource.url": true, "StatusSource.type": true, "newItem.key": true, "newReplay.subscription": true, "newReplay.from": true,
}

// leaves are the types that are no plain struct, string or number on the wire.
var leaves = map[reflect.Type]func() map[string]any{
	typeOf[Time]():      timeSchema,
	typeOf[time.Time](): timeSchema,
	typeOf[events.Conditions](): func() map[string]any {
		return map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string"}}
	},
	typeOf[[]byte](): func() map[string]any {
		return map[string]any{"type": "string", "contentEncoding": "base64"}
	},
	typeOf[events.Duration](): func() map[string]any {
		return map[string]any{"type": "string", "examples": []any{"500ms", "15s", "26h", "3d"}, "description": "a Go duration, or whole days with d; the number 0 is taken too"}
	},
	typeOf[events.StatusPattern](): func() map[string]any {
		return map[string]any{
			"type": []any{"string", "integer"}, "pattern": `^([1-5][0-9]{2}(-[1-5][0-9]{2})?|[1-5]xx|\*)$`, "minimum": 100, "maximum": 599,
			"examples": []any{"409", "3xx", "500-504", "*"},
		}
	},
	typeOf[secret.Text](): secretSchema,
	typeOf[secret.Texts](): func() map[string]any {
		return map[string]any{"type": "object", "additionalProperties": secretSchema()}
	},
	typeOf[cloudEvent](): func() map[string]any {
		text := map[string]any{"type": "string", "minLength": 1}
		return map[string]any{
			"type": "object", "description": "a CloudEvent in its JSON format; in the very bytes it was sent in, when it was sent in structured mode",
			"required":   []any{"specversion", "id", "source", "type"},
			"properties": map[string]any{"specversion": map[string]any{"type": "string", "const": "1.0"}, "id": text, "source": text, "type": text},
		}
	},
	typeOf[json.RawMessage](): func() map[string]any {
		return map[string]any{"type": []any{"object", "array", "string", "number", "boolean"}}
	},
	typeOf[replayRate](): func() map[string]any {
		return map[string]any{
			"type": []any{"integer", "object"}, "minimum": 1, "maximum": 1_000_000, "additionalProperties": false,
			"properties": map[string]any{
				"permit": map[string]any{"type": "integer"}, "per": map[string]any{"type": "string"}, "burst": map[string]any{"type": "integer"},
			},
			"description": "new deliveries a second; or permit, per and burst as those of a subscription, where burst is how many may be made up for " +
				"after a stall. Retries are not counted. Default: 50 a second for all replays that say none together, and at most half of the subscription's rate",
		}
	},
	typeOf[events.ReplayState](): enum(replayStates),
	typeOf[events.State]():       enum(allStates),
	typeOf[events.Outcome]():     enum([]events.Outcome{events.Delivered, events.Retry, events.Dead, events.Held}),
	typeOf[registry.SinkState](): enum([]registry.SinkState{registry.SinkActive, registry.SinkHeld, registry.SinkPaused, registry.SinkDisabled, registry.SinkUnverified}),
	typeOf[events.ItemState]():   enum([]events.ItemState{events.ItemOpen, events.ItemCompleted}),
	typeOf[keys.Role]():          enum([]keys.Role{keys.Operator, keys.Producer, keys.Partner}),
	typeOf[Code]():               func() map[string]any { return map[string]any{"type": "string", "pattern": "^[a-z][a-z0-9_]*$"} },
}

func secretSchema() map[string]any {
	return map[string]any{"type": "string", "description": "shown in full only in the answer that made it up; else •••• with the last 4 characters from 16 up, which a PUT may send back to keep it"}
}

func timeSchema() map[string]any {
	return map[string]any{"type": "string", "format": "date-time", "description": "RFC 3339, UTC, with milliseconds"}
}

func enum[T ~string](values []T) func() map[string]any {
	return func() map[string]any {
		list := make([]any, 0, len(values))
		for _, v := range values {
			list = append(list, string(v))
		}
		return map[string]any{"type": "string", "enum": list}
	}
}

// of returns the schema of t.
func (s *schemas) of(t reflect.Type) map[string]any {
	if leaf, ok := leaves[t]; ok {
		return leaf()
	}
	if t.Implements(typeOf[json.Marshaler]()) {
		return map[string]any{} // it writes itself in a way that is not known here; a test finds it
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Struct:
		return s.ref(t)
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return map[string]any{"type": "string"}
	default:
		return map[string]any{} // as above
	}
}

// ref describes a struct once, by its name.
func (s *schemas) ref(t reflect.Type) map[string]any {
	name := schemaName(t)
	if s.input {
		name += "Input"
	}
	if _, known := s.named[name]; !known {
		s.named[name] = nil // a type may hold itself
		s.named[name] = s.object(t)
	}
	return map[string]any{"$ref": "#/components/schemas/" + name}
}

// schemaName is the type's name with an upper-case letter; a page is named after its items.
func schemaName(t reflect.Type) string {
	name := t.Name()
	if base, item, generic := strings.Cut(name, "["); generic {
		item = item[strings.LastIndexAny(item, "./")+1:]
		name = strings.TrimSuffix(item, "]") + upper(base)
	}
	return upper(strings.TrimSuffix(name, "View"))
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (s *schemas) object(t reflect.Type) map[string]any {
	properties, must := map[string]any{}, []any{}
	s.fields(t, properties, &must)
	o := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(must) > 0 {
		o["required"] = must
	}
	return o
}

// fields adds the members of t, those of embedded structs as its own unless it has one of the name itself. A member is required unless it may
// be left out.
func (s *schemas) fields(t reflect.Type, properties map[string]any, must *[]any) {
	var embedded []reflect.Type
	for f := range t.Fields() {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		_, shadowed := properties[tag]
		switch {
		case f.Anonymous && tag == "":
			embedded = append(embedded, structOf(f.Type))
			continue
		case tag == "-" || tag == "" || !f.IsExported() || shadowed:
			continue
		}
		needed := !strings.Contains(options, "omit")
		if s.input {
			needed = required[t.Name()+"."+tag]
		}
		if needed {
			*must = append(*must, tag)
		}
		properties[tag] = s.member(t, &f, tag)
	}
	for _, inner := range embedded {
		s.fields(inner, properties, must)
	}
}

func structOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

func (s *schemas) member(t reflect.Type, f *reflect.StructField, name string) map[string]any {
	schema := s.of(f.Type)
	doc := f.Tag.Get("doc")
	if doc == "" {
		doc = memberDocs[t.Name()+"."+name]
	}
	if doc != "" {
		schema["description"] = doc
	}
	if f.Tag.Get("null") == "true" {
		schema["type"] = []any{schema["type"], "null"}
	}
	if f.Tag.Get("access") == "readonly" {
		schema["readOnly"] = true
	}
	return schema
}
