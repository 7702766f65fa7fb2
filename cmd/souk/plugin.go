package main

// pluginCommands are for those who write plugins, and for the plugins of a running
// server.
type pluginCommands struct {
	New   pluginNew   `cmd:"" help:"Begin a plugin: a folder with a policy that works, its cases and the SDK."`
	Build pluginBuild `cmd:"" help:"Build a plugin, and check it."`
	Test  pluginTest  `cmd:"" help:"Ask a plugin what its cases say, and compare the answers."`
	Serve pluginServe `cmd:"" help:"Try a plugin in a server of its own, with an example app."`
	SDK   pluginSDK   `cmd:"" name:"sdk" help:"Replace the SDK in a plugin's folder by that of this program."`
	Check pluginCheck `cmd:"" help:"Look into a module: what it needs, what it costs, and what config.toml has to say."`
	Bench pluginBench `cmd:"" help:"What a plugin costs: fuel and time of its questions, beside the engine's bare call."`

	List   pluginList   `cmd:"" help:"List the plugins of a running server, in the order in which they are asked."`
	Show   pluginShow   `cmd:"" help:"Show all that a running server knows of a plugin."`
	Swap   pluginSwap   `cmd:"" help:"Put another module in the place of a plugin's, between two requests."`
	Return pluginReturn `cmd:"" help:"Put the module back that was there before the last swap."`
	Reload pluginReload `cmd:"" help:"Have the server read its configuration again, and the plugins' files."`
}
