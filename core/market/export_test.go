package market

// The core's own rules for versions, where policy leaves the choice to it.
var (
	OpenChoice    = openChoice
	RestoreChoice = restoreChoice
)
