package filter

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"

	"github.com/hookfleet/hookfleet/events"
)

// maxNesting bounds how deep an expression may nest: each level takes stack in the parsers, and time.
const maxNesting = 100

// celProgram is a compiled CEL expression.
type celProgram struct{ program cel.Program }

var celEnv = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("id", cel.StringType), cel.Variable("source", cel.StringType), cel.Variable("type", cel.StringType),
		cel.Variable("subject", cel.StringType), cel.Variable("time", cel.TimestampType), cel.Variable("data", cel.DynType),
		cel.Variable("attributes", cel.MapType(cel.StringType, cel.DynType)),
		cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true), cel.ParserRecursionLimit(maxNesting),
		cel.ASTValidators(literalValidator{}),
	)
})

// parseCEL compiles a CEL expression.
func parseCEL(text string) (program *celProgram, err error) {
	defer func() {
		if p := recover(); p != nil {
			program, err = nil, errors.New("it cannot be parsed")
		}
	}()
	env, err := celEnv()
	if err != nil {
		return nil, fmt.Errorf("make the CEL environment: %w", err)
	}
	// Not Compile, which draws a picture of each mistake: a hundred of them take 0.4 GB.
	compiled, issues := env.Parse(text)
	if len(issues.Errors()) == 0 {
		compiled, issues = env.Check(compiled)
	}
	if len(issues.Errors()) > 0 {
		return nil, celError(issues)
	}
	if t := compiled.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("it gives %s, and must give a bool", t)
	}
	meter := newCELMeter(compiled.NativeRep().Expr())
	p, err := env.Program(compiled, cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(meter.decorate))
	if err != nil {
		return nil, err
	}
	return &celProgram{p}, nil
}

// celError is what is wrong with an expression, in one line.
func celError(issues *cel.Issues) error {
	var m mistakes
	for _, e := range issues.Errors() {
		what, isSyntax := strings.CutPrefix(e.Message, "Syntax error: ")
		if isSyntax {
			what = syntaxError(what)
		}
		what, _, _ = strings.Cut(what, "\n")
		m.add(e.Location.Line(), e.Location.Column(), "%s", strings.TrimSuffix(what, " (in container '')"))
	}
	return m.err()
}

// eval implements code. Only true lets an event through: an error does not, nor another type.
func (p *celProgram) eval(ev *Evaluation) events.Truth {
	ev.cel.begin(ev.event)
	value, _, err := p.program.Eval(&ev.cel)
	switch {
	case err != nil:
		return events.Failed
	case value == types.True:
		return events.True
	case value == types.False:
		return events.False
	default:
		return events.Failed
	}
}

// literalValidator refuses the first literal that its function would fail of for every event. It refuses patterns that
// are not literals, or too large, before anything compiles them.
type literalValidator struct{}

// Name implements cel.ASTValidator.
func (literalValidator) Name() string { return "hookfleet.validator.literals" }

// Validate implements cel.ASTValidator.
func (literalValidator) Validate(_ *cel.Env, _ cel.ValidatorConfig, a *ast.AST, issues *cel.Issues) {
	found := false
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if found || e.Kind() != ast.CallKind || len(e.AsCall().Args()) == 0 {
			return
		}
		args := e.AsCall().Args()
		arg := args[len(args)-1]
		if wrong := wrongArgument(e.AsCall().FunctionName(), arg); wrong != "" {
			issues.ReportErrorAtID(arg.ID(), "%s", wrong)
			found = true
		}
	}))
}

// wrongArgument says what is wrong with the last argument of a function; "" = nothing.
func wrongArgument(function string, arg ast.Expr) string {
	var text types.String
	isText := false
	if arg.Kind() == ast.LiteralKind {
		text, isText = arg.AsLiteral().(types.String)
	}
	switch {
	case function == overloads.Matches && !isText:
		return "the pattern of matches must be a literal"
	case function == overloads.Matches:
		if _, err := regexSize(string(text)); err != nil {
			return err.Error()
		}
	case function == overloads.TypeConvertDuration && isText && types.IsError(text.ConvertToType(types.DurationType)):
		return "the duration is wrong, write such as '90s' or '1h30m'"
	case function == overloads.TypeConvertTimestamp && isText && types.IsError(text.ConvertToType(types.TimestampType)):
		return "the timestamp is wrong, write such as '2026-01-31T12:00:00Z'"
	}
	return ""
}
