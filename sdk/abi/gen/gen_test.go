package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestGeneratedFilesAreFresh fails when the contract was changed and
// `go generate ./sdk/abi` was not run.
func TestGeneratedFilesAreFresh(t *testing.T) {
	const root = "../../.."
	files, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("nothing is generated")
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Errorf("%v: run go generate ./sdk/abi", err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run go generate ./sdk/abi", name)
		}
	}
}

// TestPlacesOfTheContract holds the layout that version 1 has promised: no
// field ever changes its place.
func TestPlacesOfTheContract(t *testing.T) {
	s, err := parse("..")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"Head.Size": 0, "Head.Minor": 4, "Head.Hook": 6, "Head.NowMS": 8, "Head.Fixed": 16, "Head.Purpose": 20,
		"Head.Flags": 22, "Head.Seed": 24, "Head.Account": 32, "Head.Client": 40, "Head.Platform": 48, "Head.OS": 52,
		"Head.Territory": 56, "Head.BucketKey": 64, "Head.Organization": 72, "Head.Grants": 80,
		"EntitleRequest.Apps": 96, "SelectVersionRequest.Apps": 96,
		"EntitleApp.Item": 0, "EntitleApp.Version": 8, "EntitleApp.Devices": 16, "EntitleApp.DevicesItem": 20, "EntitleApp.BundleID": 24,
		"VerdictHead.Size": 0, "VerdictHead.Minor": 4, "VerdictHead.Flags": 6, "VerdictHead.Zero": 8, "EntitleVerdict.Items": 16,
		"EntitleDecision.Decision": 0, "EntitleDecision.Code": 4, "EntitleDecision.Reason": 8,
		"SelectVersionApp.Item": 0, "SelectVersionApp.Installed": 8, "SelectVersionApp.BundleID": 16,
		"SelectVersionApp.Channel": 24, "SelectVersionApp.Candidates": 32,
		"Candidate.Version": 0, "Candidate.ReleasedMS": 8, "Candidate.MinOS": 16, "Candidate.Flags": 20, "Candidate.Rollout": 24,
		"Candidate.Zero": 28, "Candidate.Salt": 32, "Candidate.Short": 40, "Candidate.Build": 48, "Candidate.Channel": 56,
		"VersionChoice.Choice": 0, "VersionChoice.Code": 4, "VersionChoice.Reason": 8,
		"SignInRequest.Method": 96, "SignInRequest.Attempts": 100, "SignInRequest.LoginHint": 104, "SignInRequest.ClientName": 112,
		"SignInRequest.Locale": 120, "SignInRequest.Address": 128, "SignInRequest.State": 136, "SignInRequest.Fields": 144,
		"SignInAnswer.Outcome": 0, "SignInAnswer.Account": 8, "SignInAnswer.DisplayName": 16, "SignInAnswer.Territory": 24,
		"SignInAnswer.Title": 32, "SignInAnswer.Message": 40, "SignInAnswer.HTML": 48, "SignInAnswer.Location": 56,
		"SignInAnswer.State": 64, "SignInAnswer.Fields": 72, "SignInAnswer.Grants": 88,
		"ExchangeRequest.SubjectToken": 96, "ExchangeRequest.SubjectTokenType": 104,
		"FetchRequest.Method": 16, "FetchRequest.URL": 24, "FetchRequest.Headers": 32, "FetchRequest.Body": 48,
		"FetchHeader.Name": 0, "FetchHeader.Value": 8,
		"FetchResponse.Status": 16, "FetchResponse.Reserved": 20, "FetchResponse.Headers": 24, "FetchResponse.Body": 40,
		"ExchangeAnswer.Outcome": 0, "ExchangeAnswer.Account": 8, "ExchangeAnswer.Reason": 16,
	}
	got := map[string]int{}
	for _, r := range s.Records {
		for _, f := range r.Fields {
			got[r.Name+"."+f.Name] = f.Offset
		}
	}
	for field, at := range want {
		if g, ok := got[field]; !ok || g != at {
			t.Errorf("%s is at %d, version 1 has it at %d", field, g, at)
		}
	}
}
