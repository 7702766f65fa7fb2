// Package bench is the command `souk bench`: what this machine does with this
// program, measured beside something that is known in the same run. Each case has
// files of its own, store*.go and http*.go; this one holds them together.
package bench

// Commands are the subcommands of `souk bench`.
type Commands struct {
	Store Store `cmd:"" help:"The store: durable writes, refreshes, reads beside them, room on disk, and the open after a crash."`
}
