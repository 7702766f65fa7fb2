package abi

// Head begins every request. Size, Minor, Hook and Fixed are written by the
// encoder.
type Head struct {
	Size         uint32   // bytes of the whole message
	Minor        uint16   // the host's Minor
	Hook         Hook     // which question this is
	NowMS        uint64   // the time of the request, in ms since 1970: a guest has no other clock
	Fixed        uint32   // bytes of the fixed part, where the strings and lists begin
	Purpose      Purpose  // what the device or person is doing
	Flags        uint16   // none yet; unknown bits are ignored
	Seed         uint64   // random, the same for all questions of one request: a guest has no other randomness
	Account      string   // the account, empty when nobody is signed in
	Client       string   // the OAuth client: a registered one by its id, a device by 32 hexadecimal digits that stay the same
	Platform     Platform // of the device
	OS           uint32   // version of the device's system: major<<16 | minor<<8 | patch; 0 = not known, in front of an install page
	Territory    string   // ISO 3166-1 alpha-3, or empty: never guessed
	BucketKey    string   // what a rollout counts by: the account, else the device; empty when anonymous
	Organization string   // the organization that a registered OAuth app acts for
	Grants       []string // what the account holds: subscriptions, purchases, role:…
}

// Purpose is what the device or person is doing.
type Purpose uint16

// The purposes.
const (
	PurposeUpdate       Purpose = 1
	PurposeRestore      Purpose = 2
	PurposeLicense      Purpose = 3
	PurposeInstallToken Purpose = 4 // the marketplace app is about to install, or somebody looks at an install page
	PurposeSignIn       Purpose = 5
	PurposeExchange     Purpose = 6
	PurposeOAuthApp     Purpose = 7
)

// Platform is the kind of a device.
type Platform uint32

// The platforms.
const (
	PlatformIOS    Platform = 1
	PlatformIPadOS Platform = 2
)

// VerdictHead begins every verdict. Size and Minor are written by the encoder.
type VerdictHead struct {
	Size  uint32 // bytes of the whole message
	Minor uint16 // the guest's Minor
	Flags uint16 // none yet
	Zero  uint64
}

// EntitleRequest asks whether an account may have apps.
type EntitleRequest struct {
	Head
	Apps []EntitleApp
}

// EntitleApp is one app of an EntitleRequest.
type EntitleApp struct {
	Item        uint64 // appleItemId
	Version     uint64 // appleVersionId; 0 for updates and restores, where it is asked before the choice
	Devices     uint32 // devices of the account that were given any app before the asking one was; 0 when nobody is signed in
	DevicesItem uint32 // … that were given this app; both end at 256, which also stands for "there is no room to count it"
	BundleID    string
}

// EntitleVerdict answers an EntitleRequest, one decision an app and in the
// same order.
type EntitleVerdict struct {
	VerdictHead
	Items []EntitleDecision
}

// EntitleDecision is the answer for one app.
type EntitleDecision struct {
	Decision Decision
	Code     uint32 // the plugin's own number for the reason
	Reason   string // for the log, metrics and explain; a device never sees it
}

// Decision is the answer to whether an account may have an app.
type Decision uint32

// The decisions.
const (
	Allow        Decision = 0
	Deny         Decision = 1
	DecisionPass Decision = 2 // abstain: the next plugin, then the default, decides
)

// SelectVersionRequest asks which version of each app a device gets.
type SelectVersionRequest struct {
	Head
	Apps []SelectVersionApp
}

// SelectVersionApp is one app of a SelectVersionRequest.
type SelectVersionApp struct {
	Item       uint64 // appleItemId
	Installed  uint64 // appleVersionId that the device has, 0 = unknown; on restore the requested one
	BundleID   string
	Channel    string // the channel that the device's account follows, empty = the default one
	Candidates []Candidate
}

// Candidate is a version that fits the device. Candidates come newest first;
// for an update all are newer than the installed version.
type Candidate struct {
	Version    uint64 // appleVersionId
	ReleasedMS uint64 // when it was released, in ms since 1970
	MinOS      uint32 // lowest system version it runs on: major<<16 | minor<<8 | patch
	Flags      CandidateFlags
	Rollout    uint32 // 0..10000: the share of devices that it is open to now
	Zero       uint32
	Salt       string // of the rollout: see Bucket
	Short      string // CFBundleShortVersionString
	Build      string // CFBundleVersion
	Channel    string // empty = the default channel
}

// CandidateFlags say what a candidate is; unknown bits are ignored.
type CandidateFlags uint32

// The flags of a candidate.
const (
	FlagNewest    CandidateFlags = 1  // the newest version of the app
	FlagCritical  CandidateFlags = 2  // the operator marked it as critical
	FlagDelta     CandidateFlags = 4  // a delta from the installed version exists
	FlagHalted    CandidateFlags = 8  // its rollout was halted
	FlagRequested CandidateFlags = 16 // the version that a restore asks for
)

// SelectVersionVerdict answers a SelectVersionRequest, one choice an app and
// in the same order.
type SelectVersionVerdict struct {
	VerdictHead
	Items []VersionChoice
}

// VersionChoice is the answer for one app.
type VersionChoice struct {
	Choice Choice
	Code   uint32 // the plugin's own number for the reason
	Reason string // for the log, metrics and explain; a device never sees it
}

// Choice is the index of a candidate, or one of the values below.
type Choice int32

// Choices that name no candidate.
const (
	Hold        Choice = -1 // update: no offer now; restore: the requested version, else the newest
	ChoicePass  Choice = -2 // abstain: the next plugin, then the default, decides
	Unavailable Choice = -3 // restore: the device is told that the app is not available
)

// SignInRequest is one step of a sign-in.
type SignInRequest struct {
	Head
	Method     SignInMethod
	Attempts   uint32 // failed attempts that the core counted for this account or address
	LoginHint  string // who the device says should sign in; text from outside
	ClientName string // what the person is signing in to
	Locale     string // the browser's first language tag, e.g. "de-AT"
	Address    string // the address of the person's browser
	State      string // what the plugin's last verdict of this sign-in carried in State
	Fields     []SubmittedField
}

// SignInMethod is the step of a sign-in.
type SignInMethod uint32

// The steps of a sign-in.
const (
	SignInShow     SignInMethod = 0 // the page is asked for
	SignInSubmit   SignInMethod = 1 // the form was sent
	SignInCancel   SignInMethod = 2 // the person pressed cancel
	SignInCallback SignInMethod = 3 // another provider sent the person back
)

// SubmittedField is what a person typed into one field.
type SubmittedField struct {
	Name  string
	Value string
}

// SignInVerdict answers a SignInRequest; it has exactly one item.
type SignInVerdict struct {
	VerdictHead
	Items []SignInAnswer
}

// SignInAnswer says what the sign-in page shows, or who the person is.
type SignInAnswer struct {
	Outcome     SignInOutcome
	Zero        uint32
	Account     string      // signed in: the account
	DisplayName string      // signed in: how to address the person
	Territory   string      // signed in: ISO 3166-1 alpha-3, or empty
	Title       string      // page: the heading
	Message     string      // page, refused: a sentence for the person
	HTML        string      // page: the plugin's own markup around <souk-form></souk-form>; empty = the core's page
	Location    string      // redirect: where to, on the plugin's list of hosts
	State       string      // page, redirect: comes back with the next step, at most 4 KiB; the person can't read it
	Fields      []FormField // page: the form
	Grants      []string    // signed in: what the account holds from now on; empty = unchanged
}

// SignInOutcome is what a step of a sign-in led to.
type SignInOutcome uint32

// The outcomes of a step.
const (
	SignInPass     SignInOutcome = 0 // abstain: the next plugin is asked
	SignInPage     SignInOutcome = 1 // show this page
	SignInDone     SignInOutcome = 2 // the person is signed in
	SignInRefused  SignInOutcome = 3 // the person may not sign in
	SignInRedirect SignInOutcome = 4 // go to another provider
)

// FormField is one field of the form. Kind is one of text, email, username,
// password, code, hidden and note (text to read, no input).
type FormField struct {
	Name  string
	Label string
	Kind  string
	Value string
}

// ExchangeRequest asks whose subject token this is (RFC 8693 §2.1).
type ExchangeRequest struct {
	Head
	SubjectToken     string
	SubjectTokenType string
}

// ExchangeVerdict answers an ExchangeRequest; it has exactly one item.
type ExchangeVerdict struct {
	VerdictHead
	Items []ExchangeAnswer
}

// ExchangeAnswer says whose the subject token is.
type ExchangeAnswer struct {
	Outcome ExchangeOutcome
	Zero    uint32
	Account string
	Reason  string // for the log
}

// ExchangeOutcome is the answer about a subject token.
type ExchangeOutcome uint32

// The outcomes of an exchange.
const (
	ExchangePass     ExchangeOutcome = 0 // abstain: the next plugin is asked
	ExchangeAccepted ExchangeOutcome = 1
	ExchangeRefused  ExchangeOutcome = 2
)

// FetchRequest is what a guest asks of another server with http_fetch. It has
// the head of a verdict: a guest writes it. All strings are UTF-8, the body too.
type FetchRequest struct {
	VerdictHead
	Method  string // GET, HEAD, POST, PUT, PATCH or DELETE
	URL     string // https, and its host on the plugin's list; http only to a listed host of this machine
	Headers []FetchHeader
	Body    string
}

// FetchHeader is one header of a request or a response.
type FetchHeader struct {
	Name  string
	Value string
}

// FetchResponse is what another server answered. It has the head of a verdict
// too, written by the host.
type FetchResponse struct {
	VerdictHead
	Status   uint32        // of the last response, after redirects
	Reserved uint32        // zero
	Headers  []FetchHeader // names in lower case, in their order; one that came twice is there twice
	Body     string
}
