package filter

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// The cost of an evaluation is kept by us, and not by cel-go's cost limit: that makes each step of a loop four times as
// slow, does not see how much of data a comparison looks at, and slows down with the square of the steps when an index is
// computed. Each look at data is a unit, each 64 bytes of a text that is copied or searched, and each operator of a
// loop's body every time.
const (
	// maxWork is the cost limit of one evaluation, in units of some 50 to 100 ns. The same event costs the same every time.
	maxWork = 250_000
	// maxTime is for what the cost does not see. It is long, because a machine that is busy must not make a filter fail.
	maxTime = time.Second

	bytesAUnit = 64      // of a text that is copied or searched
	regexAUnit = 32      // bytes of a text times instructions of the pattern that it is compared with
	checkTime  = 4 << 10 // units between two looks at the clock
)

// inputName is what a program finds its input under. No expression can say it.
const inputName = "@input"

// charge takes units from what is left of the evaluation. CEL makes an error of the panic.
func (in *celInput) charge(units int) {
	in.work -= units
	if in.work < 0 {
		panic(interpreter.EvalCancelledError{Cause: interpreter.CostLimitExceeded, Message: "it takes too much work"})
	}
	if in.work > in.check {
		return
	}
	in.check = in.work - checkTime
	switch now := time.Now(); {
	case in.since.IsZero():
		in.since = now
	case now.Sub(in.since) > maxTime:
		panic(interpreter.EvalCancelledError{Cause: interpreter.ContextCancelled, Message: "it takes too long"})
	}
}

func (in *celInput) chargeText(n int) { in.charge(n / bytesAUnit) }

func charge(frame *interpreter.ExecutionFrame, units int) {
	if in, ok := frame.ResolveName(inputName); ok {
		in.(*celInput).charge(units)
	}
}

// celMeter puts what keeps the cost into a program.
type celMeter struct {
	loops map[int64]int // operators in the body of a loop, by the id of its step
}

func newCELMeter(root ast.Expr) *celMeter {
	m := &celMeter{make(map[int64]int)}
	m.size(root)
	return m
}

// size is how many operators are in e, the bodies of loops left out.
func (m *celMeter) size(e ast.Expr) (n int) {
	n = 1
	switch e.Kind() {
	case ast.ComprehensionKind:
		loop := e.AsComprehension()
		m.loops[loop.LoopStep().ID()] = m.size(loop.LoopCondition()) + m.size(loop.LoopStep())
		return n + m.size(loop.IterRange()) + m.size(loop.AccuInit()) + m.size(loop.Result())
	case ast.CallKind:
		if call := e.AsCall(); call.IsMemberFunction() {
			n += m.size(call.Target())
		}
		return n + m.sizes(e.AsCall().Args())
	case ast.ListKind:
		return n + m.sizes(e.AsList().Elements())
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			n += m.size(entry.AsMapEntry().Key()) + m.size(entry.AsMapEntry().Value())
		}
	case ast.StructKind:
		for _, field := range e.AsStruct().Fields() {
			n += m.size(field.AsStructField().Value())
		}
	case ast.SelectKind:
		n += m.size(e.AsSelect().Operand())
	default:
	}
	return n
}

func (m *celMeter) sizes(all []ast.Expr) (n int) {
	for _, e := range all {
		n += m.size(e)
	}
	return n
}

// decorate is an interpreter.InterpretableDecoratorV2.
func (m *celMeter) decorate(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	id := i.ID()
	if call, ok := i.(interpreter.InterpretableCall); ok {
		run, err := runOf(call)
		if err != nil {
			return nil, err
		}
		if run != nil {
			i = &meteredCall{i, call.Args(), run}
		}
	}
	if size, ok := m.loops[id]; ok {
		i = &meteredStep{i, size}
	}
	return i, nil
}

// meteredStep is the step of a loop.
type meteredStep struct {
	interpreter.InterpretableV2
	size int
}

// Exec implements interpreter.InterpretableV2.
func (s *meteredStep) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	charge(frame, s.size)
	return s.InterpretableV2.Exec(frame)
}

// Eval implements interpreter.Interpretable.
func (s *meteredStep) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, s.Exec)
}

// meteredCall is a call that copies or searches texts.
type meteredCall struct {
	interpreter.InterpretableV2
	args []interpreter.InterpretableV2
	run  run
}

// run is what a function does, and what it costs before it does it.
type run func(frame *interpreter.ExecutionFrame, a, b ref.Val) ref.Val

// Exec implements interpreter.InterpretableV2.
func (c *meteredCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	var values [2]ref.Val
	for i, arg := range c.args {
		values[i] = arg.Exec(frame)
		if types.IsUnknownOrError(values[i]) {
			return values[i]
		}
	}
	return c.run(frame, values[0], values[1])
}

// Eval implements interpreter.Interpretable.
func (c *meteredCall) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, c.Exec)
}

// runOf returns what a call does in its place; nil for one that costs the same for all values.
func runOf(call interpreter.InterpretableCall) (run, error) {
	switch call.Function() {
	case operators.Add:
		return add, nil
	case overloads.Size:
		return size, nil
	case overloads.Contains:
		return contains, nil
	case overloads.TypeConvertString:
		return convertTo(types.StringType), nil
	case overloads.TypeConvertBytes:
		return convertTo(types.BytesType), nil
	case overloads.Matches:
		return matches(call.Args()[1])
	default:
		return nil, nil
	}
}

func chargeTexts(frame *interpreter.ExecutionFrame, values ...ref.Val) {
	n := 0
	for _, v := range values {
		switch v := v.(type) {
		case types.String:
			n += len(v)
		case types.Bytes:
			n += len(v)
		}
	}
	charge(frame, n/bytesAUnit)
}

func add(frame *interpreter.ExecutionFrame, a, b ref.Val) ref.Val {
	chargeTexts(frame, a, b)
	if adder, ok := a.(traits.Adder); ok {
		return adder.Add(b)
	}
	return types.MaybeNoSuchOverloadErr(a)
}

func size(frame *interpreter.ExecutionFrame, a, _ ref.Val) ref.Val {
	chargeTexts(frame, a)
	if sizer, ok := a.(traits.Sizer); ok {
		return sizer.Size()
	}
	return types.MaybeNoSuchOverloadErr(a)
}

func contains(frame *interpreter.ExecutionFrame, a, b ref.Val) ref.Val {
	chargeTexts(frame, a, b)
	text, ok := a.(types.String)
	part, ok2 := b.(types.String)
	if !ok || !ok2 {
		return types.MaybeNoSuchOverloadErr(a)
	}
	return types.Bool(strings.Contains(string(text), string(part)))
}

func convertTo(t ref.Type) run {
	return func(frame *interpreter.ExecutionFrame, a, _ ref.Val) ref.Val {
		chargeTexts(frame, a)
		return a.ConvertToType(t)
	}
}

// matches compiles the pattern once. literalValidator has seen to it that it is a literal and not large.
func matches(arg interpreter.InterpretableV2) (run, error) {
	literal, ok := arg.(interpreter.InterpretableConst)
	if !ok {
		return nil, errors.New("the pattern of matches must be a literal")
	}
	pattern, _ := literal.Value().(types.String)
	size, err := regexSize(string(pattern))
	if err != nil {
		return nil, err
	}
	compiled, err := regexp.Compile(string(pattern))
	if err != nil {
		return nil, fmt.Errorf("the pattern is wrong: %w", err)
	}
	return func(frame *interpreter.ExecutionFrame, a, _ ref.Val) ref.Val {
		text, ok := a.(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(a)
		}
		charge(frame, len(text)*size/regexAUnit)
		return types.Bool(compiled.MatchString(string(text)))
	}, nil
}
