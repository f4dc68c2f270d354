// Package credential puts onto requests what a sink wants to see: a key, a user and password, or a token, which it fetches
// from the sink's token server.
//
// It promises that of all who need a token of one credential, in all processes that share a Store, one fetches it at a
// time; that a server which fails is asked again less and less often; and that no error, report or shown URL has a secret.
// It does not promise that a sink takes what it is shown, and it starts no goroutine: a token is fetched, and renewed, by
// the first who needs it.
package credential
