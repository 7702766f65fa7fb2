// Package modeltest checks the rules of package oauth against a model of them.
//
// A history is a script of a few people, devices, thieves and an operator: they sign
// in, redeem codes, refresh, lose answers and ask again, copy tokens, end sign-ins,
// while time passes, keys change, writes have no known outcome and the process dies
// and comes back. It runs against the real Server over the real Store over the real
// engine. What everybody asked, what they were answered and when both happened is
// held to the model in rules_test.go, which says what one sign-in may answer: if there is
// no order of the calls in which the model gives these answers, the history is a
// violation. invariants_test.go holds it to a few sentences besides that need no order.
//
// Which call to the engine comes next is drawn as well, so a history is its seed:
//
//	go test -v ./core/oauth/modeltest                      the usual number of histories
//	SOUK_HISTORIES=50000 go test -v ./core/oauth/modeltest more of them
//	SOUK_SEED=7 go test -v ./core/oauth/modeltest          others
//
// A violation prints its seed, the command that repeats it and the history, shortened
// for as long as it still is one. Some histories run freely instead, on as many threads
// as there are callers: these find what only the machine's own timing finds, and
// their seed repeats the script alone.
//
// There is nothing here but tests.
package modeltest
