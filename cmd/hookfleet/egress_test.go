package main

import "testing"

func TestEgressCommand(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	const text = `{"addresses":["192.0.2.1","2001:db8::1"],"proxy":"http://proxy.example:3128"}`
	f.on("GET /v1/egress", 200, text)
	f.cli(t, "", "egress").expect(t, exitOK, "addresses:  192.0.2.1, 2001:db8::1\nproxy:      http://proxy.example:3128\n", "")
	f.cli(t, "", "egress", "-o", "json").expect(t, exitOK, text+"\n", "")
}
