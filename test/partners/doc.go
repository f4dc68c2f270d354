// Package partners is what the simulators of partners' receivers have in common: a real HTTP endpoint that looks at each
// request as strictly as the partner would, writes down what is wrong with it, and answers as the partner would.
//
// Each partner is a package of its own. They know of Hookfleet what its contract says and import nothing of it: what they
// accept, the partner accepts. Tests use them, and `hookfleet demo` shows them (docs/decisions/0020-partners.md).
package partners
