package events

func (d *subscriptionReader) filters(v *jsonValue, at string) {
	d.array(v, at, maxFilters, func(v *jsonValue, at string) {
		r := filterReader{document: &d.document}
		f := r.filter(v, at, 1)
		if text, err := encodeJSON(f); err != nil || len(text) > maxFilterBytes {
			d.fault(at, "is larger than %d bytes", maxFilterBytes)
		} else {
			d.checkExpressions(r.expressions)
		}
		d.s.Filters = append(d.s.Filters, f)
	})
}

// checkExpressions has the expressions of a filter compiled. That costs up to a millisecond each, so it is done only for
// a filter that is small enough.
func (d *subscriptionReader) checkExpressions(all []expression) {
	for _, x := range all {
		if d.sinks.WrongFilter == nil {
			d.fault(x.at, "is not supported here")
		} else if wrong := d.sinks.WrongFilter(x.language, x.text); wrong != "" {
			d.fault(x.at, "%s", wrong)
		}
	}
}

// filterReader reads one filter of the list.
type filterReader struct {
	*document
	expressions []expression // those in it
}

// expression is one to be checked, and where it is.
type expression struct {
	language Language
	text, at string
}

// filter reads one filter that lies within depth levels, its own included.
func (d *filterReader) filter(v *jsonValue, at string, depth int) (f Filter) {
	if depth > maxFilterDepth {
		d.fault(at, "lies deeper than %d levels", maxFilterDepth)
		return f
	}
	d.object(v, at, map[string]reader{
		"exact": d.conditions(&f.Exact), "prefix": d.conditions(&f.Prefix), "suffix": d.conditions(&f.Suffix),
		"all": d.several(&f.All, depth), "any": d.several(&f.Any, depth),
		"not": func(v *jsonValue, at string) { f.Not = new(d.filter(v, at, depth+1)) },
		"sql": d.expression(LanguageSQL, &f.SQL), "cel": d.expression(LanguageCEL, &f.CEL), "match": d.expression(LanguageMatch, &f.Match),
	})
	// A filter without a member would hold for everything.
	if v.kind == jsonObject && (len(v.members) != 1 || v.members[0].value.kind == jsonNull) {
		d.fault(at, "must have exactly one of exact, prefix, suffix, all, any, not, sql, cel, match")
	}
	return f
}

func (d *filterReader) expression(language Language, to *string) reader {
	return func(v *jsonValue, at string) {
		if !d.is(jsonString, v, at) {
			return
		}
		if v.text == "" {
			d.fault(at, "must not be empty")
			return
		}
		*to = v.text
		d.expressions = append(d.expressions, expression{language, v.text, at})
	}
}

func (d *filterReader) several(to *[]Filter, depth int) reader {
	return func(v *jsonValue, at string) {
		if v.kind == jsonArray && len(v.items) == 0 {
			d.fault(at, "must not be empty")
		}
		d.array(v, at, maxFilterBytes, func(v *jsonValue, at string) {
			*to = append(*to, d.filter(v, at, depth+1))
		})
	}
}

func (d *filterReader) conditions(to *Conditions) reader {
	return func(v *jsonValue, at string) {
		if v.kind == jsonObject && len(v.members) == 0 {
			d.fault(at, "must not be empty")
		}
		if !d.is(jsonObject, v, at) {
			return
		}
		for i := range v.members {
			m := &v.members[i]
			d.condition(m, below(at, m.name))
			*to = append(*to, Condition{m.name, m.value.text})
		}
		to.sort()
	}
}

func (d *filterReader) condition(m *jsonMember, at string) {
	switch {
	case !isName(m.name):
		d.fault(at, "is no attribute name: only lower-case letters and digits, at least one")
	case m.name == "data":
		d.fault(at, "is no attribute: exact, prefix and suffix compare attributes, not data")
	case !d.is(jsonString, &m.value, at):
	case m.value.text == "":
		d.fault(at, "must not be empty")
	}
}
