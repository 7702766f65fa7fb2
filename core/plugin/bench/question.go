package bench

import (
	"fmt"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// Question is a question as devices and people ask it.
type Question struct {
	Hook abi.Hook
	Name string
	Fill func(c *plugin.Call, device int) // writes the record
}

// devices are how many different ones ask.
const devices = 32

var keys = func() (k [devices]string) {
	for i := range k {
		k[i] = fmt.Sprintf("account-%06d", i)
	}
	return k
}()

func head(purpose abi.Purpose, device int) abi.Head {
	key := keys[device%devices]
	return abi.Head{
		NowMS: 1_790_000_000_000 + uint64(device)*1000, Purpose: purpose, Seed: 0x9E37_79B9_7F4A_7C15 * uint64(device+1),
		Account: key, Client: "00112233445566778899aabbccddeeff", Platform: abi.PlatformIOS, OS: abi.OS(18, 6, 1),
		Territory: "AUT", BucketKey: key, Grants: grants,
	}
}

var grants = []string{"sub:plus"}

// Questions are those of all hooks, a small one first where there are two.
func Questions() []Question {
	var all []Question
	for _, n := range [...]int{1, 5} {
		all = append(all, entitle(n))
	}
	for _, n := range [...]int{1, 5} {
		all = append(all, SelectVersion(n))
	}
	return append(all,
		Question{abi.HookSignIn, "show", func(c *plugin.Call, device int) {
			c.SignIn = abi.SignInRequest{
				Head: personal(abi.PurposeSignIn, device), Method: abi.SignInShow, ClientName: "Example Market", Locale: "de-AT", Address: "192.0.2.1",
			}
		}},
		Question{abi.HookSignIn, "submit", func(c *plugin.Call, device int) {
			c.SignIn = abi.SignInRequest{
				Head: personal(abi.PurposeSignIn, device), Method: abi.SignInSubmit, ClientName: "Example Market", Locale: "de-AT", Address: "192.0.2.1",
				Fields: []abi.SubmittedField{{Name: "email", Value: "alice@example.com"}, {Name: "password", Value: "wonderland"}},
			}
		}},
		Question{abi.HookExchange, "token", func(c *plugin.Call, device int) {
			c.Exchange = abi.ExchangeRequest{
				Head: personal(abi.PurposeExchange, device), SubjectToken: "eyJhbGciOiJub25lIn0.e30.", SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
			}
		}},
	)
}

// personal is the head of a question about somebody who isn't known yet.
func personal(purpose abi.Purpose, device int) abi.Head {
	h := head(purpose, device)
	h.Account, h.BucketKey, h.Grants = "", "", nil
	return h
}

func entitle(n int) Question {
	apps := make([]abi.EntitleApp, n)
	for i := range apps {
		apps[i] = abi.EntitleApp{Item: 1_000_001 + uint64(i), BundleID: bundle(i)}
	}
	return Question{abi.HookEntitle, name(n), func(c *plugin.Call, device int) {
		c.Entitle.Head = head(abi.PurposeUpdate, device)
		c.Entitle.Apps = append(c.Entitle.Apps, apps...)
	}}
}

// SelectVersion is an update check for n apps with three versions each, the first
// of them open to some devices, the second to more.
func SelectVersion(n int) Question {
	apps := make([]abi.SelectVersionApp, n)
	for i := range apps {
		salt := func(version int) string { return fmt.Sprintf("%d/%d", 1_000_001+i, version) }
		apps[i] = abi.SelectVersionApp{Item: 1_000_001 + uint64(i), Installed: 1, BundleID: bundle(i), Candidates: []abi.Candidate{
			{Version: 4, ReleasedMS: 1_789_900_000_000, MinOS: abi.OS(18, 0, 0), Flags: abi.FlagNewest, Rollout: 2500, Salt: salt(4), Short: "4.0", Build: "400"},
			{Version: 3, ReleasedMS: 1_789_000_000_000, MinOS: abi.OS(18, 0, 0), Rollout: 5000, Salt: salt(3), Short: "3.0", Build: "300"},
			{Version: 2, ReleasedMS: 1_788_000_000_000, MinOS: abi.OS(17, 4, 0), Rollout: 10000, Salt: salt(2), Short: "2.0", Build: "200"},
		}}
	}
	return Question{abi.HookSelectVersion, name(n), func(c *plugin.Call, device int) {
		c.SelectVersion.Head = head(abi.PurposeUpdate, device)
		c.SelectVersion.Apps = append(c.SelectVersion.Apps, apps...)
	}}
}

func bundle(i int) string { return fmt.Sprintf("com.example.app%d", i) }

func name(apps int) string {
	if apps == 1 {
		return "1 app"
	}
	return fmt.Sprintf("%d apps", apps)
}

// Request returns the bytes that a guest gets.
func (q Question) Request(device int) []byte {
	var c plugin.Call
	q.Fill(&c, device)
	switch q.Hook {
	case abi.HookEntitle:
		return c.Entitle.Append(nil)
	case abi.HookSelectVersion:
		return c.SelectVersion.Append(nil)
	case abi.HookSignIn:
		return c.SignIn.Append(nil)
	default:
		return c.Exchange.Append(nil)
	}
}

// choose is the policy of sdk/examples as a Go function: each device gets the
// newest version that is rolled out to it.
func choose(r *abi.SelectVersionRequest, v *abi.SelectVersionVerdict) {
	for i := range r.Apps {
		answer := abi.VersionChoice{Choice: abi.Hold, Reason: "not open yet"}
		for j := range r.Apps[i].Candidates {
			if c := &r.Apps[i].Candidates[j]; c.Rollout >= abi.Buckets || r.BucketKey != "" && abi.Bucket(r.BucketKey, c.Salt) < c.Rollout {
				answer = abi.VersionChoice{Choice: abi.Choice(j), Reason: "open"}
				break
			}
		}
		v.Items = append(v.Items, answer)
	}
}
