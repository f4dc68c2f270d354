package filter

import (
	"fmt"
	"reflect"
	"strconv"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/hookfleet/hookfleet/events"
)

// celInput is an event as an expression sees it. Nothing of the event is looked at before it is asked for.
type celInput struct {
	event *events.Event
	root  ref.Val   // of data; nil until it is asked for
	work  int       // that is left
	check int       // what is left when the clock is looked at
	since time.Time // of the first look
}

func (in *celInput) begin(e *events.Event) {
	in.event, in.work, in.check, in.since = e, maxWork, maxWork-checkTime, time.Time{}
}

// ResolveName implements cel.Activation. An attribute that is absent is not resolved, which fails the expression, but for
// subject, which is empty then.
func (in *celInput) ResolveName(name string) (any, bool) {
	switch name {
	case "id":
		return types.String(in.event.ID()), true
	case "source":
		return types.String(in.event.Source()), true
	case "type":
		return types.String(in.event.Type()), true
	case "subject":
		return types.String(in.event.Subject()), true
	case "time":
		at := in.event.Time()
		return types.Timestamp{Time: at}, !at.IsZero()
	case "data":
		if in.root == nil {
			in.root = in.data()
		}
		return in.root, true
	case "attributes":
		return celAttributes{in: in}, true
	case inputName:
		return in, true
	default:
		return nil, false
	}
}

// Parent implements cel.Activation.
func (*celInput) Parent() cel.Activation { return nil }

// data is JSON, a text, bytes, or null when there is none.
func (in *celInput) data() ref.Val {
	if v, ok := in.event.JSON(); ok {
		return in.value(v)
	}
	switch data, kind := in.event.Data(); kind {
	case events.DataText:
		return types.String(data)
	case events.DataBinary:
		return types.Bytes(data)
	default:
		return types.NullValue
	}
}

// value is a JSON value as CEL knows it.
func (in *celInput) value(v events.DataValue) ref.Val {
	in.charge(1)
	switch v.Kind() {
	case events.ValueObject:
		return &celObject{celValue{in, v}}
	case events.ValueArray:
		return &celArray{celValue{in, v}}
	case events.ValueString:
		in.chargeText(v.Width())
		return types.String(v.Text())
	case events.ValueNumber:
		return celNumber(v.Text())
	case events.ValueBool:
		return types.Bool(v.Is("true"))
	default:
		return types.NullValue
	}
}

// celNumber is an int where the spelling is that of one which fits, else a uint, else a double. They compare with each
// other.
func celNumber(text string) ref.Val {
	if !isFraction(text) {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return types.Int(n)
		}
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return types.Uint(n)
		}
	}
	f, _ := strconv.ParseFloat(text, 64) // beyond the range it is infinite, which compares rightly
	return types.Double(f)
}

func isFraction(text string) bool {
	for i := range len(text) {
		if c := text[i]; c == '.' || c|0x20 == 'e' {
			return true
		}
	}
	return false
}

// celValue is an object or an array of data.
type celValue struct {
	in *celInput
	v  events.DataValue
}

// Value implements ref.Val.
func (c celValue) Value() any { return c.v }

// ConvertToNative implements ref.Val. Nothing in CEL asks for it.
func (celValue) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("data cannot be converted to %v", t)
}

// Size implements traits.Sizer.
func (c celValue) Size() ref.Val { return types.Int(c.v.Len()) }

// IsZeroValue implements traits.Zeroer.
func (c celValue) IsZeroValue() bool { return c.v.Len() == 0 }

// celObject is an object of data: a map of strings.
type celObject struct{ celValue }

// Type implements ref.Val.
func (*celObject) Type() ref.Type { return types.MapType }

// ConvertToType implements ref.Val.
func (o *celObject) ConvertToType(t ref.Type) ref.Val { return convert(o, t) }

// Find implements traits.Mapper.
func (o *celObject) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		o.in.charge(1)
		return nil, false
	}
	return o.find(string(name))
}

// FindStringKey is what cel-go looks for where a path says the name, to do without a value for it.
func (o *celObject) FindStringKey(name string) (any, bool) {
	v, ok := o.find(name)
	return v, ok
}

func (o *celObject) find(name string) (ref.Val, bool) {
	o.in.charge(1)
	member, ok := o.v.Member(name)
	if !ok {
		return nil, false
	}
	return o.in.value(member), true
}

// Get implements traits.Indexer.
func (o *celObject) Get(key ref.Val) ref.Val { return get(o, key) }

// Contains implements traits.Container.
func (o *celObject) Contains(key ref.Val) ref.Val {
	_, ok := o.Find(key)
	return types.Bool(ok)
}

// Iterator implements traits.Iterable: over the names.
func (o *celObject) Iterator() traits.Iterator {
	return &celIterator{n: o.v.Len(), item: func(i int) ref.Val {
		o.in.charge(1)
		name, _, _ := o.v.MemberAt(i)
		return types.String(name)
	}}
}

// Equal implements ref.Val.
func (o *celObject) Equal(other ref.Val) ref.Val {
	if same, ok := other.(*celObject); ok && same.v == o.v {
		return types.True
	}
	return equalMaps(o, other)
}

// celArray is an array of data: a list.
type celArray struct{ celValue }

// Type implements ref.Val.
func (*celArray) Type() ref.Type { return types.ListType }

// ConvertToType implements ref.Val.
func (a *celArray) ConvertToType(t ref.Type) ref.Val { return convert(a, t) }

// Get implements traits.Indexer.
func (a *celArray) Get(index ref.Val) ref.Val {
	i, err := types.GetOrError(index)
	if err != nil {
		return types.WrapErr(err)
	}
	item, ok := a.v.Item(i)
	if !ok {
		return types.NewErr("index out of bounds: %d", i)
	}
	return a.in.value(item)
}

// Add implements traits.Adder: the items of both.
func (a *celArray) Add(other ref.Val) ref.Val {
	if _, ok := other.(traits.Lister); !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	var all []ref.Val
	for item := range a.v.Items() {
		all = append(all, a.in.value(item))
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all).Add(other)
}

// Contains implements traits.Container.
func (a *celArray) Contains(value ref.Val) ref.Val {
	for item := range a.v.Items() {
		if types.Equal(value, a.in.value(item)) == types.True {
			return types.True
		}
	}
	return types.False
}

// Iterator implements traits.Iterable.
func (a *celArray) Iterator() traits.Iterator {
	return &celIterator{n: a.v.Len(), item: func(i int) ref.Val {
		item, _ := a.v.Item(i)
		return a.in.value(item)
	}}
}

// Equal implements ref.Val.
func (a *celArray) Equal(other ref.Val) ref.Val {
	if same, ok := other.(*celArray); ok && same.v == a.v {
		return types.True
	}
	list, ok := other.(traits.Lister)
	if !ok || list.Size() != a.Size() {
		return types.False
	}
	mine, theirs := a.Iterator(), list.Iterator()
	for mine.HasNext() == types.True {
		if types.Equal(mine.Next(), theirs.Next()) != types.True {
			return types.False
		}
	}
	return types.True
}

// celAttributes are the attributes of the event: a map from names to strings, ints and bools.
type celAttributes struct{ in *celInput }

// ConvertToNative implements ref.Val. Nothing in CEL asks for it.
func (celAttributes) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("attributes cannot be converted to %v", t)
}

// ConvertToType implements ref.Val.
func (m celAttributes) ConvertToType(t ref.Type) ref.Val { return convert(m, t) }

// Type implements ref.Val.
func (celAttributes) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (m celAttributes) Value() any { return m.in.event }

// Size implements traits.Sizer.
func (m celAttributes) Size() ref.Val { return types.Int(len(m.names())) }

func (m celAttributes) names() (all []ref.Val) {
	for a := range m.in.event.Attributes() {
		all = append(all, types.String(a.Name))
	}
	return all
}

// Find implements traits.Mapper.
func (m celAttributes) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	for a := range m.in.event.Attributes() {
		m.in.charge(1)
		if a.Name == string(name) {
			return types.DefaultTypeAdapter.NativeToValue(typed(a)), true
		}
	}
	return nil, false
}

// Get implements traits.Indexer.
func (m celAttributes) Get(key ref.Val) ref.Val { return get(m, key) }

// Contains implements traits.Container.
func (m celAttributes) Contains(key ref.Val) ref.Val {
	_, ok := m.Find(key)
	return types.Bool(ok)
}

// Iterator implements traits.Iterable: over the names.
func (m celAttributes) Iterator() traits.Iterator {
	names := m.names()
	return &celIterator{n: len(names), item: func(i int) ref.Val { return names[i] }}
}

// Equal implements ref.Val.
func (m celAttributes) Equal(other ref.Val) ref.Val { return equalMaps(m, other) }

// celIterator is over what item has from 0 to n.
type celIterator struct {
	traits.Iterator // of its methods as a value none is called
	i, n            int
	item            func(int) ref.Val
}

// HasNext implements traits.Iterator.
func (it *celIterator) HasNext() ref.Val { return types.Bool(it.i < it.n) }

// Next implements traits.Iterator.
func (it *celIterator) Next() ref.Val {
	it.i++
	return it.item(it.i - 1)
}

// convert is to the type that it has, or to the name of that.
func convert(v ref.Val, t ref.Type) ref.Val {
	switch t {
	case v.Type():
		return v
	case types.TypeType:
		return v.Type().(ref.Val)
	default:
		return types.NewErr("type conversion error from '%s' to '%s'", v.Type(), t)
	}
}

func get(m traits.Mapper, key ref.Val) ref.Val {
	v, found := m.Find(key)
	if !found {
		return types.NewErr("no such key: %v", key)
	}
	return v
}

func equalMaps(m traits.Mapper, other ref.Val) ref.Val {
	o, ok := other.(traits.Mapper)
	if !ok || m.Size() != o.Size() {
		return types.False
	}
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		mine, _ := m.Find(key)
		theirs, found := o.Find(key)
		if !found || types.Equal(mine, theirs) != types.True {
			return types.False
		}
	}
	return types.True
}
