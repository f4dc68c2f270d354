package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// maxManifest is the most that is read of a file of subscriptions: each is far below 64 KiB, so these are thousands.
const maxManifest = 64 << 20

// toJSON splits a file into its documents, as JSON. A file of JSON keeps its bytes. In YAML, `off`, `yes` and dates are
// text, as in YAML 1.2, since subscriptions have settings that are called so.
func toJSON(file []byte) ([]json.RawMessage, error) {
	if docs, err := jsonDocuments(file); err == nil {
		return docs, nil
	}
	var docs []json.RawMessage
	for d := yaml.NewDecoder(bytes.NewReader(file)); ; {
		var node yaml.Node
		err := d.Decode(&node)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		doc, err := nodeToJSON(&node)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(docs)+1, err)
		}
		if string(doc) != "null" { // nothing but comments
			docs = append(docs, doc)
		}
	}
}

// jsonDocuments reads JSON objects that follow each other.
func jsonDocuments(file []byte) ([]json.RawMessage, error) {
	var docs []json.RawMessage
	for d := json.NewDecoder(bytes.NewReader(file)); ; {
		var doc json.RawMessage
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
}

func nodeToJSON(node *yaml.Node) (json.RawMessage, error) {
	if err := prepare(node); err != nil {
		return nil, err
	}
	var v any
	if err := node.Decode(&v); err != nil { // resolves aliases, within bounds, and refuses members that are there twice
		return nil, err
	}
	doc, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("has no JSON form: %w", err)
	}
	return doc, nil
}

// prepare keeps the spelling of dates and times, and refuses numbers that would lose digits. Aliases are left alone: what
// they name is in the tree already.
func prepare(n *yaml.Node) error {
	switch {
	case n.Kind != yaml.ScalarNode:
	case n.ShortTag() == "!!timestamp":
		n.Tag = "!!str"
	case n.ShortTag() == "!!float" && !exact(n.Value):
		return fmt.Errorf("line %d: %s has more digits than a YAML number keeps: use a JSON file", n.Line, n.Value)
	}
	for _, c := range n.Content {
		if err := prepare(c); err != nil {
			return err
		}
	}
	return nil
}

// exact reports whether a decimal number is the same after it has been a float64. What is no such number is not judged.
func exact(s string) bool {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return true
	}
	was, ok := new(big.Rat).SetString(s)
	is, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	return !ok || was.Cmp(is) == 0
}

// writeYAML prints a JSON text as YAML, members in the order they came in, so that it can be edited and applied.
func writeYAML(w io.Writer, raw []byte) error {
	if !json.Valid(raw) { // which also bounds the nesting
		return errors.New("show the answer: is not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	node, err := jsonToNode(d)
	if err != nil {
		return fmt.Errorf("show the answer: %w", err)
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(node); err != nil {
		return fmt.Errorf("show the answer: %w", err)
	}
	return e.Close()
}

// jsonToNode reads one value of a text that is known to be JSON.
func jsonToNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		node := &yaml.Node{}
		if n, ok := token.(json.Number); ok {
			node.Kind, node.Value = yaml.ScalarNode, n.String()
			return node, nil
		}
		return node, node.Encode(token)
	}
	node := &yaml.Node{Kind: yaml.SequenceNode}
	if delim == '{' {
		node.Kind = yaml.MappingNode
	}
	for d.More() {
		if delim == '{' {
			name, err := jsonToNode(d)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, name)
		}
		value, err := jsonToNode(d)
		if err != nil {
			return nil, err
		}
		node.Content = append(node.Content, value)
	}
	_, err = d.Token() // the closing one
	return node, err
}
