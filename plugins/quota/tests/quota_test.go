//go:build !wasip1

// Package quota_test tests the plugin quota: in C, and as the server asks it. It
// has a folder of its own because Go takes no C files beside its own.
package quota_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/unit"
	"github.com/souk-market/souk/plugins"
	"github.com/souk-market/souk/sdk/abi"
)

// open starts the plugin in the real host, with a configuration as JSON text.
func open(t *testing.T, config string) (*plugin.Host, error) {
	t.Helper()
	s := plugin.DefaultSpec()
	s.Name, s.Wasm = "quota", plugins.Quota
	s.Deadline, s.StartDeadline = unit.Duration(10*time.Second), unit.Duration(time.Minute) // -race, and a busy machine
	if err := json.Unmarshal([]byte(config), &s.Config); err != nil {
		t.Fatal(err)
	}
	h, err := plugin.Open(t.Context(), plugin.Options{Specs: []plugin.Spec{s}})
	if err == nil {
		t.Cleanup(func() { h.Close(context.WithoutCancel(t.Context())) })
	}
	return h, err
}

func TestQuota(t *testing.T) {
	h, err := open(t, `{"per_account":5,"per_item":2,"items":{"8":1,"com.example.sky":0},"exempt_grants":["role:tester"],"passes":"allow"}`)
	if err != nil {
		t.Fatal(err)
	}
	const notes, sky = "com.example.notes", "com.example.sky"
	for _, test := range []struct {
		name    string
		purpose abi.Purpose
		account string
		grants  []string
		app     abi.EntitleApp
		code    uint32
		reason  string
	}{
		{"the first device", abi.PurposeInstallToken, "alice", nil, abi.EntitleApp{Item: 7, BundleID: notes}, 1, "within the limits"},
		{"the last device", abi.PurposeInstallToken, "alice", nil, abi.EntitleApp{Item: 7, BundleID: notes, Devices: 4, DevicesItem: 1}, 1, "within the limits"},
		{"one device more has the app", abi.PurposeInstallToken, "alice", nil, abi.EntitleApp{Item: 7, BundleID: notes, Devices: 2, DevicesItem: 2}, 21, "2 other devices have the app, the limit is 2"},
		{"one device more", abi.PurposeInstallToken, "alice", nil, abi.EntitleApp{Item: 7, BundleID: notes, Devices: 5}, 20, "the account has 5 other devices, the limit is 5"},
		{"a restore counts", abi.PurposeRestore, "alice", nil, abi.EntitleApp{Item: 7, BundleID: notes, Devices: 9}, 20, "the account has 9 other devices, the limit is 5"},
		{"a licence counts", abi.PurposeLicense, "alice", nil, abi.EntitleApp{Item: 7, BundleID: notes, DevicesItem: 9}, 21, "9 other devices have the app, the limit is 2"},
		{"a purpose that nobody knows counts", 99, "alice", nil, abi.EntitleApp{Item: 7, BundleID: notes, DevicesItem: 9}, 21, "9 other devices have the app, the limit is 2"},
		{"an update is for a device that has the app", abi.PurposeUpdate, "alice", nil, abi.EntitleApp{Item: 7, BundleID: notes, Devices: 9, DevicesItem: 9}, 2, "an update"},
		{"an app with a limit of its own", abi.PurposeInstallToken, "alice", nil, abi.EntitleApp{Item: 8, BundleID: notes, Devices: 1, DevicesItem: 1}, 21, "1 other devices have the app, the limit is 1"},
		{"an app without a limit of its own", abi.PurposeInstallToken, "alice", nil, abi.EntitleApp{Item: 9, BundleID: sky, Devices: 4, DevicesItem: 4}, 1, "within the limits"},
		{"the limit of the account holds for it too", abi.PurposeInstallToken, "alice", nil, abi.EntitleApp{Item: 9, BundleID: sky, Devices: 5}, 20, "the account has 5 other devices, the limit is 5"},
		{"who is exempt has no limit", abi.PurposeInstallToken, "alice", []string{"sub:plus", "role:tester"}, abi.EntitleApp{Item: 7, BundleID: notes, Devices: 9}, 3, "holds role:tester"},
		{"another grant lifts nothing", abi.PurposeInstallToken, "alice", []string{"role:test"}, abi.EntitleApp{Item: 7, BundleID: notes, Devices: 9}, 20, "the account has 9 other devices, the limit is 5"},
		{"nobody has no devices", abi.PurposeInstallToken, "", nil, abi.EntitleApp{Item: 7, BundleID: notes}, 4, "nobody is signed in"},
	} {
		call := h.Acquire()
		call.Entitle.Head = abi.Head{Purpose: test.purpose, Account: test.account, Grants: test.grants}
		call.Entitle.Apps = append(call.Entitle.Apps[:0], test.app, abi.EntitleApp{Item: 7})
		got := call.AskEntitle(t.Context())
		want := abi.Allow
		if test.code >= 20 {
			want = abi.Deny
		}
		if got[0].Decision != want || got[0].Code != test.code || got[0].Reason != test.reason || got[1].Decision != abi.Allow {
			t.Errorf("%s: %+v, want decision %d with code %d, %q, and the second app allowed", test.name, got, want, test.code, test.reason)
		}
		call.Release()
	}
}

func TestPassesIsAnAbstention(t *testing.T) {
	h, err := open(t, `{"per_item":1}`)
	if err != nil {
		t.Fatal(err)
	}
	call := h.Acquire()
	defer call.Release()
	call.Entitle.Head = abi.Head{Account: "alice"}
	call.Entitle.Apps = []abi.EntitleApp{{Item: 7}, {Item: 8, DevicesItem: 1}}
	if got := call.AskEntitle(t.Context()); got[0].Decision != abi.DecisionPass || got[1].Decision != abi.Deny {
		t.Errorf("decisions %+v, want an abstention and a denial", got)
	}
}

func TestConfigureRefuses(t *testing.T) {
	for _, test := range []struct{ config, wrong string }{
		{`{}`, "per_account, per_item, items: set at least one limit"},
		{`{"per_account":-1}`, "per_account: want a whole number of devices from 0, which is no limit, to 256"},
		{`{"items":{"07":1}}`, "items: 07 is no appleItemId, and no bundle id begins with a digit"},
		{`{"per_item":1,"passes":"deny"}`, `passes: want "allow" or "abstain"`},
	} {
		if _, err := open(t, test.config); err == nil || !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("with %s the plugin says %v, want an error with %q", test.config, err, test.wrong)
		}
	}
}

// TestInC runs the tests that the policy has in its own language.
func TestInC(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		if os.Getenv("SOUK_CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	program := filepath.Join(t.TempDir(), "test")
	build := exec.Command(cc, "-std=c11", "-O0", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", "../../../sdk/c", "-o", program, "../test.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%.2000s", err, out)
	}
	if out, err := exec.Command(program).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
