// Package ids is an exact index of the message ids of a stream: which of them were stored within a window, and where.
//
// It promises that an id that was added is found as long as it is within the window, also after the process was killed if it had been
// saved, and that what it says to know after it was opened (Index.Last) has no gaps. An id takes 2.1 bytes of memory and 32 on disk; only
// the newest 196,608 are in memory, in at most 6 MiB. Nothing in it is a pointer, so that the garbage collector has nothing to look at.
//
// Where a file cannot be written it goes on in memory, at 32 bytes an id, until it is opened anew or reset.
//
// It does not promise to outlive a power cut: nothing is synced, and who opens it names what it belongs to (Config.Stream), with the boot
// of the machine if need be. What it does not know is to be read from the stream. It is not safe for concurrent use, and starts nothing.
package ids
