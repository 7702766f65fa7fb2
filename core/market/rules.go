package market

import "github.com/souk-market/souk/sdk/abi"

// Entitled says whether an app is given where every plugin abstained. asked:
// there is a plugin that answers entitle. Config implements plugin.Rules.
func (c *Config) Entitled(asked bool) bool {
	return c.EntitleDefault == DefaultAllow || c.EntitleDefault == DefaultAuto && !asked
}

// Chosen is what a choice of policy comes to: what selectVersions does with the
// candidates of the catalogue, with those of a question.
func (c *Config) Chosen(head *abi.Head, choice abi.Choice, candidates []abi.Candidate) abi.Choice {
	switch {
	case head.Purpose == abi.PurposeUpdate && choice == abi.ChoicePass:
		for i := range candidates {
			if open(head.BucketKey, candidates[i].Salt, candidates[i].Rollout) {
				return abi.Choice(i)
			}
		}
		return abi.Hold
	case head.Purpose == abi.PurposeUpdate:
		return choice
	case choice >= 0 || choice == abi.Unavailable || len(candidates) == 0:
		return choice
	}
	for i := range candidates {
		if candidates[i].Flags&abi.FlagRequested != 0 {
			return abi.Choice(i)
		}
	}
	return 0
}
