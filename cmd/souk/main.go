// Souk is the server behind an app marketplace, and what its operator types. One
// binary does both: "souk serve" runs the server, and the other commands talk to
// a running one over its admin API.
//
// A command is a struct of its flags with a method Run, in a file of its own.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/souk-market/souk/cmd/souk/bench"
	"github.com/souk-market/souk/cmd/souk/demo"
	"github.com/souk-market/souk/cmd/souk/sim"
)

// commands are all there are.
type commands struct {
	Demo    demo.Command    `cmd:"" help:"Try everything out: a server with an example catalogue, and devices that use it. Nothing to set up."`
	Serve   serveCommand    `cmd:"" help:"Run the server."`
	Check   checkCommand    `cmd:"" help:"Look for mistakes in the configuration, the catalogue file and the plugins. Changes nothing."`
	App     appCommands     `cmd:"" help:"The apps of a running server: list, change, roll out, take down."`
	Account accountCommands `cmd:"" help:"The people of a running server: who signs in, and what each may have."`
	Client  clientCommands  `cmd:"" help:"The OAuth clients of a running server: register, change, disable, remove."`
	Sim     sim.Commands    `cmd:"" help:"A day of simulated devices that ask for updates, and look at the answers."`
	Plan    planCommands    `cmd:"" help:"What a changed rollout or plugin does before it goes live, and how many cores devices need. Changes nothing."`
	Polling pollingCommand  `cmd:"" help:"How often devices look for updates: show it, or turn it while the server runs."`
	Explain explainCommand  `cmd:"" help:"Why a device gets what it gets from a running server. Changes nothing."`
	Audit   auditCommand    `cmd:"" help:"Who changed what in a running server, newest first; or whether its log is whole."`
	Key     keyCommands     `cmd:"" help:"The key ring of a running server: list, rotate, retire."`
	Backup  backupCommand   `cmd:"" help:"Write all that the store holds into a file, while the server runs."`
	Recover recoverCommand  `cmd:"" help:"Make a data directory of backups, or look whether they are whole."`
	Plugin  pluginCommands  `cmd:"" help:"Plugins: write, try, change them."`
	Bench   bench.Commands  `cmd:"" help:"What this machine does with this program, beside what is known of it."`
}

const description = `The server behind an app marketplace.

Begin with "souk demo". To run a server of your own, copy config.toml from the
repository, look over it with "souk check" and start it with "souk serve".`

// streams are where a command reads and writes.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// errReported ends a command that has told already what is wrong.
var errReported = errors.New("reported")

func main() {
	os.Exit(run(os.Args[1:], &streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run carries out one command line and returns the exit code.
func run(args []string, std *streams) int {
	var c commands
	parser := kong.Must(&c,
		kong.Name("souk"),
		kong.Description(description),
		kong.Writers(std.out, std.err),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.Bind(std, sim.Load(load)),
	)
	if len(args) == 0 {
		args = []string{"--help"}
	}
	line, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(std.err, "souk: %v\n%s\n", err, helpHint(err))
		return exitUsage
	}
	switch err := line.Run(); {
	case errors.Is(err, errReported):
		return exitFailed
	case err != nil:
		fmt.Fprintf(std.err, "souk: %v\n", err)
		return exitFailed
	}
	return 0
}

// helpHint says where to read about the command that was meant.
func helpHint(err error) string {
	command := "souk"
	if parse, ok := errors.AsType[*kong.ParseError](err); ok {
		for _, p := range parse.Context.Path {
			if p.Command != nil {
				command += " " + p.Command.Name
			}
		}
	}
	return fmt.Sprintf("Run \"%s --help\" to see how it is written.", command)
}
