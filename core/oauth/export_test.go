package oauth

// What the tests of this package look at from outside.
var (
	CheckRedirect  = checkRedirect
	ValidChallenge = validChallenge
	ValidVerifier  = validVerifier
	Verifies       = verifies
)

// AttemptCells is the size of the table of attempts.
const AttemptCells = attemptCells
