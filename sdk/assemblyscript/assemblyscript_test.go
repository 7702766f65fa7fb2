// Package assemblyscript_test runs the tests of the AssemblyScript SDK.
package assemblyscript_test

import (
	"os"
	"os/exec"
	"testing"
)

func TestAssemblyScript(t *testing.T) {
	missing := t.Skip
	if os.Getenv("SOUK_CI") != "" {
		missing = t.Fatal
	}
	if _, err := exec.LookPath("node"); err != nil {
		missing("there is no node")
	}
	if _, err := os.Stat("node_modules/assemblyscript"); err != nil {
		missing("there is no compiler: run npm ci in sdk/assemblyscript")
	}
	if out, err := exec.Command("node", "--test", "tests/").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
