// Package plain answers one kind of request itself, the one that comes ten thousand times a second, and leaves every other
// to net/http.
//
// It promises that what it takes for plain is what net/http would have read, byte for byte: one POST to one path in
// HTTP/1.1, with one Host, one Content-Length, and nothing else that says how long the body is or what the connection does
// next. Whatever is not exactly so goes to net/http, with all bytes from its first on, and stays there as long as the connection lasts.
// The handler is called as net/http calls it, one request at a time for each connection, and answers mean the same.
//
// It does not promise what plain handlers do not need: no Flusher, Hijacker, trailers, informational answers or
// http.ResponseController; an answer is gathered in memory, and sent whole. A handler must not keep the request, its header
// or its body when it has returned, which net/http does not allow for the body only: they are used again. Its context ends when the
// server is closed before requests have ended, and when a body does not come whole; a client that goes away later is noticed when the answer is sent.
package plain
