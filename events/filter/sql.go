package filter

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/antlr/antlr4/runtime/Go/antlr"
	cesql "github.com/cloudevents/sdk-go/sql/v2"
	"github.com/cloudevents/sdk-go/sql/v2/gen"
	"github.com/cloudevents/sdk-go/sql/v2/parser"
	"github.com/cloudevents/sdk-go/sql/v2/runtime"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/hookfleet/hookfleet/events"
)

// sqlProgram is a compiled CESQL expression.
type sqlProgram struct {
	expression cesql.Expression
	work       sqlSize
}

// sqlSize bounds the bytes of a value, or those that are looked at or copied to get it: so many, and so many for each
// byte of the attributes. Numbers without end: CONCAT_WS in CONCAT_WS multiplies.
type sqlSize struct{ fixed, each float64 }

func (s sqlSize) plus(o sqlSize) sqlSize { return sqlSize{s.fixed + o.fixed, s.each + o.each} }

func (s sqlSize) times(n int) sqlSize { return sqlSize{s.fixed * float64(n), s.each * float64(n)} }

// of is the size for an event with attributes of so many bytes.
func (s sqlSize) of(attributes int) float64 { return s.fixed + s.each*float64(attributes) }

// maxSQLWork bounds what one evaluation may look at or copy; some 50 ms. Attributes together have some hundred bytes,
// but a hostile event may have 1 MB of them.
const maxSQLWork = 100 << 20

// usualAttributes is how many bytes the attributes of an event have, when it is large for an event of an honest producer.
const usualAttributes = 4 << 10

// parseSQL compiles a CESQL expression. The SDK's parser panics on some texts and says nothing of where; so the text is
// parsed once before to find what is wrong with it.
func parseSQL(text string) (program *sqlProgram, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case sqlMistake:
			program, err = nil, p.err
		default:
			program, err = nil, errors.New("it cannot be parsed")
		}
	}()
	if err := checkParentheses(text); err != nil {
		return nil, err
	}
	work, err := checkSQL(text)
	if err != nil {
		return nil, err
	}
	expression, err := parser.Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "parse error: "))
	}
	if expression == nil {
		return nil, errors.New("it has no value")
	}
	return &sqlProgram{expression, work}, nil
}

// checkParentheses refuses those that nest deeper than maxNesting or are not closed: the parser looks ahead over all of
// them at each.
func checkParentheses(text string) error {
	var open []int
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\'', '"':
			for i++; i < len(text) && text[i] != c; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '(':
			if open = append(open, i); len(open) > maxNesting {
				return fmt.Errorf("parentheses nest deeper than %d levels at byte %d", maxNesting, i)
			}
		case ')':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("a parenthesis is not closed at byte %d", open[0])
	}
	return nil
}

// checkSQL parses text with the SDK's grammar, and returns what evaluating it costs.
func checkSQL(text string) (work sqlSize, err error) {
	var c sqlChecker
	lexer := gen.NewCESQLParserLexer(parser.NewCaseChangingStream(antlr.NewInputStream(text), true))
	lexer.RemoveErrorListeners() // they write to the standard error
	lexer.AddErrorListener(&c)
	p := gen.NewCESQLParserParser(antlr.NewCommonTokenStream(lexer, antlr.TokenDefaultChannel))
	p.RemoveErrorListeners()
	p.AddErrorListener(&c)
	tree := p.Cesql()
	if len(c.wrong) == 0 {
		c.size(tree)
	}
	if len(c.wrong) == 0 && c.work.of(usualAttributes) > maxSQLWork {
		c.wrong.add(0, 0, "it takes too much work")
	}
	return c.work, c.wrong.err()
}

// sqlChecker gathers what is wrong with an expression, and what evaluating it costs.
type sqlChecker struct {
	antlr.DefaultErrorListener
	wrong mistakes
	work  sqlSize
}

// sqlMistake ends the parser at a mistake in the syntax.
type sqlMistake struct{ err error }

// SyntaxError implements antlr.ErrorListener. Going on after a mistake takes the parser a time that grows with the square
// of what follows, and a panic one that grows with the square of how deep it comes from; so it depends.
func (c *sqlChecker) SyntaxError(r antlr.Recognizer, _ any, line, column int, msg string, _ antlr.RecognitionException) {
	c.wrong.add(line, column, "%s", syntaxError(msg))
	if p, ok := r.(antlr.Parser); ok && !deeper(p.GetParserRuleContext(), maxNesting) {
		panic(sqlMistake{c.wrong.err()})
	}
}

// deeper reports whether a rule lies within more than n others.
func deeper(rule antlr.Tree, n int) bool {
	for ; n >= 0 && rule != nil; n-- {
		rule = rule.GetParent()
	}
	return n < 0
}

func (c *sqlChecker) fault(at antlr.Token, format string, args ...any) {
	c.wrong.add(at.GetLine(), at.GetColumn(), format, args...)
}

// size is that of the value of what is in tree.
func (c *sqlChecker) size(tree antlr.Tree) (all sqlSize) {
	switch t := tree.(type) {
	case *gen.IdentifierContext:
		return sqlSize{each: 1}
	case *gen.IntegerLiteralContext:
		if _, err := strconv.ParseInt(t.GetText(), 10, 32); err != nil {
			c.fault(t.GetStart(), "%.40s does not fit into 32 bits", t.GetText())
		}
	case antlr.TerminalNode:
		return sqlSize{fixed: float64(len(t.GetText()))}
	case *gen.FunctionInvocationExpressionContext:
		all = c.call(t)
		c.work = c.work.plus(all)
		return all
	}
	for _, child := range tree.GetChildren() {
		all = all.plus(c.size(child))
	}
	if like, ok := tree.(*gen.LikeExpressionContext); ok {
		// The pattern is compared at every place.
		c.work = c.work.plus(all.times(len(like.StringLiteral().GetText())))
	}
	return all
}

// call is the size of what a function returns. One that there is not is a mistake: it would fail for every event.
func (c *sqlChecker) call(call *gen.FunctionInvocationExpressionContext) (all sqlSize) {
	list, ok := call.FunctionParameterList().(*gen.FunctionParameterListContext)
	if !ok {
		return all
	}
	name, args := strings.ToUpper(call.FunctionIdentifier().GetText()), list.AllExpression()
	if runtime.ResolveFunction(name, len(args)) == nil {
		c.fault(call.GetStart(), "there is no function %.40s with %d arguments", name, len(args))
	}
	for i, arg := range args {
		size := c.size(arg)
		if name == "CONCAT_WS" && i == 0 {
			size = size.times(len(args)) // between all others
		}
		all = all.plus(size)
	}
	return all
}

// eval implements code. Only TRUE lets an event through: an error does not, nor another type (SU-5).
func (p *sqlProgram) eval(ev *Evaluation) events.Truth {
	e, size := ev.sqlEvent()
	if p.work.of(size) > maxSQLWork {
		return events.Failed
	}
	value, err := p.expression.Evaluate(e)
	yes, ok := value.(bool)
	switch {
	case err != nil || !ok:
		return events.Failed
	case yes:
		return events.True
	default:
		return events.False
	}
}

// sqlContext is an event as the SDK's expressions look at it: attributes only, in the spelling that they came in but for
// time, and nothing copied. Only the methods below are called; the others are nobody's.
type sqlContext struct {
	cloudevents.EventContext
	event      *events.Event
	extensions map[string]any
}

// sqlEvent is the event for the SDK, made once, and the bytes of its attributes.
func (ev *Evaluation) sqlEvent() (e cloudevents.Event, size int) {
	if ev.sql.event == nil {
		ev.sql.event = ev.event
		for a := range ev.event.Attributes() {
			ev.sqlSize += len(a.Value)
		}
	}
	return cloudevents.Event{Context: &ev.sql}, ev.sqlSize
}

// GetSpecVersion implements event.EventContextReader, as all that follow.
func (c *sqlContext) GetSpecVersion() string { return c.get("specversion") }

// GetID is the attribute id.
func (c *sqlContext) GetID() string { return c.event.ID() }

// GetSource is the attribute source.
func (c *sqlContext) GetSource() string { return c.event.Source() }

// GetType is the attribute type.
func (c *sqlContext) GetType() string { return c.event.Type() }

// GetSubject is the attribute subject.
func (c *sqlContext) GetSubject() string { return c.event.Subject() }

// GetTime is the attribute time, in the zone that it is in: it is compared as text.
func (c *sqlContext) GetTime() time.Time {
	if at, err := time.Parse(time.RFC3339Nano, c.get("time")); err == nil {
		return at
	}
	return c.event.Time() // spelled in a way that only the RFC knows
}

// GetDataContentType is the attribute datacontenttype.
func (c *sqlContext) GetDataContentType() string { return c.event.DataContentType() }

// GetDataSchema is the attribute dataschema.
func (c *sqlContext) GetDataSchema() string { return c.get("dataschema") }

func (c *sqlContext) get(name string) string {
	value, _ := c.event.Attribute(name)
	return value
}

// GetExtensions are all attributes, those of the specification too: the SDK asks for these elsewhere.
func (c *sqlContext) GetExtensions() map[string]any {
	if c.extensions == nil {
		c.extensions = make(map[string]any)
		for a := range c.event.Attributes() {
			c.extensions[a.Name] = typed(a)
		}
	}
	return c.extensions
}
