package main

// pluginCommands are about the plugins: of a running server, and before they get
// there.
type pluginCommands struct {
	List   pluginList   `cmd:"" help:"List the plugins of a running server, in the order in which they are asked."`
	Show   pluginShow   `cmd:"" help:"Show all that a running server knows of a plugin."`
	Swap   pluginSwap   `cmd:"" help:"Put another module in the place of a plugin's, between two requests."`
	Return pluginReturn `cmd:"" help:"Put the module back that was there before the last swap."`
	Reload pluginReload `cmd:"" help:"Have the server read its configuration again, and the plugins' files."`
}
