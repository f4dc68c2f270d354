package filter

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	sqlerrors "github.com/cloudevents/sdk-go/sql/v2/errors"
	"github.com/cloudevents/sdk-go/sql/v2/parser"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/hookfleet/hookfleet/events"
)

// tckCase is one case of the conformance tests of CESQL.
type tckCase struct {
	Name, Expression string
	Result           yaml.Node
	Error            string
	Event            map[string]yaml.Node
	EventOverrides   map[string]yaml.Node `yaml:"eventOverrides"`
}

// tckEvent is the event of a case that names none.
var tckEvent = map[string]any{
	"specversion": "1.0", "type": "com.example.FullEvent", "source": "http://example.com/source", "id": "full-event",
	"time": "2020-03-21T12:34:56.78Z", "dataschema": "http://example.com/schema", "subject": "topic", "datacontenttype": "text/json",
	"exbool": true, "exint": 42, "exstring": "exstring", "exbinary": "AAECAw==", "exurl": "http://example.com/source",
	"extime": "2020-03-21T12:34:56.78Z", "data": "hello",
}

func (c *tckCase) event(t *testing.T) *events.Event {
	t.Helper()
	members := map[string]any{}
	if c.Event == nil {
		maps.Copy(members, tckEvent)
	}
	for _, nodes := range []map[string]yaml.Node{c.Event, c.EventOverrides} {
		for name, node := range nodes {
			members[name] = valueOf(t, node)
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.ParseStructured(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

// valueOf is an int32, a bool or a string. A time stays as it is spelled.
func valueOf(t *testing.T, node yaml.Node) any {
	t.Helper()
	var value any
	if node.Tag != "!!int" && node.Tag != "!!bool" {
		return node.Value
	}
	if err := node.Decode(&value); err != nil {
		t.Fatal(err)
	}
	if n, ok := value.(int); ok {
		return int32(n)
	}
	return value
}

// truth is what a filter makes of the result.
func (c *tckCase) truth(t *testing.T) events.Truth {
	t.Helper()
	switch result := valueOf(t, c.Result); {
	case c.Error != "" || result != true && result != false:
		return events.Failed
	case result == true:
		return events.True
	default:
		return events.False
	}
}

// The conformance tests of CESQL, through our parser and our events.
func TestTCK(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/tck/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Name  string
			Tests []tckCase
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		for _, c := range file.Tests {
			cases++
			t.Run(file.Name+"/"+c.Name, func(t *testing.T) { c.run(t) })
		}
	}
	if cases != 275 {
		t.Errorf("%d cases were run, there are 275", cases)
	}
}

func (c *tckCase) run(t *testing.T) {
	e := c.event(t)
	program, err := parseSQL(c.Expression)
	if c.Error == "parse" || c.Error == "missingFunction" { // which we refuse when it is registered
		if err == nil {
			t.Errorf("%s is taken", c.Expression)
		}
		if c.Error == "parse" {
			return
		}
	} else if err != nil {
		t.Fatalf("%s: %v", c.Expression, err)
	} else if got := program.eval(NewEvaluation(e)); got != c.truth(t) {
		t.Errorf("%s is %v, want %v", c.Expression, got, c.truth(t))
	}
	x, err := parser.Parse(c.Expression)
	if err != nil {
		t.Fatal(err)
	}
	in, _ := NewEvaluation(e).sqlEvent()
	got, err := x.Evaluate(in)
	if diff := cmp.Diff(valueOf(t, c.Result), got); diff != "" {
		t.Errorf("%s: %s", c.Expression, diff)
	}
	if is := map[string]func(error) bool{
		"": func(err error) bool { return err == nil }, "math": sqlerrors.IsMathError, "cast": sqlerrors.IsCastError,
		"missingAttribute": sqlerrors.IsMissingAttributeError, "missingFunction": sqlerrors.IsMissingFunctionError,
		"functionEvaluation": sqlerrors.IsFunctionEvaluationError,
	}[c.Error]; !is(err) {
		t.Errorf("%s: error %v, want %q", c.Expression, err, c.Error)
	}
}
