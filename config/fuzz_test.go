package config

import "testing"

// Whatever a file holds, reading it ends in settings or in faults.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{"", "api: {listen: ':1'}\nroles: [api]", "a: b: c", "api.listen: x\n---\n", "worker: {concurrency: 1e9}", "? [a]\n: b", "data: &a [*a]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, err := document(text)
		if err != nil {
			return
		}
		s := source{texts: map[string]any{}, origins: map[string]string{}}
		s.flatten("", doc, "file")
		for key := range s.texts {
			if s.origins[key] != "file" {
				t.Errorf("%s has no origin", key)
			}
		}
	})
}

// A setting's text is taken or refused; what is taken is within its bounds, or Validate says so.
func FuzzSettings(f *testing.F) {
	for i, s := range settings {
		f.Add(uint8(i), s.Default)
	}
	f.Add(uint8(10), "9223372036854775807TiB")
	f.Add(uint8(13), "::ffff:1.2.3.4/97,fe80::1%x/3")
	f.Fuzz(func(t *testing.T, i uint8, text string) {
		c := Default()
		if err := settings[int(i)%len(settings)].set(c, text); err != nil {
			return
		}
		_ = c.Validate()
		if c.Events.MaxSize < 0 || c.Events.Retention < 0 {
			t.Errorf("%q is taken as %+v", text, c.Events)
		}
	})
}
