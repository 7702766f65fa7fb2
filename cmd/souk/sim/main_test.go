package sim

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
)

// faultVariable says to the server of a test what it lies about.
const faultVariable = "SOUK_SIM_FAULT"

// TestMain is the server too, where it is started as one: the real one, and where a
// test wants it so, with somebody in front of it who lies.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "sim" {
		var err error
		switch os.Args[2] {
		case "pulse":
			err = new(Pulse).Run()
		case "child":
			c := &Child{cache: coretest.Cache()} // the program of a test must not run what another engine has compiled
			if name := os.Getenv(faultVariable); name != "" {
				c.front = faults[name].front
			}
			err = c.Run(core.Load)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "souk:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// These tests wait for clocks, and not for processors.
	flag.Parse()
	if !raced {
		if err := flag.Set("test.parallel", "8"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

// command is a short run, on a machine that may be busy with something else.
func command(scenario string, devices uint64, speed float64) *Command {
	return &Command{
		Scenario: scenario, Devices: devices, Apps: 300, Seed: 1, Speed: speed, Retry: "exp15m-fulljitter", Connections: 16,
		MaxLag: time.Hour, Patience: 50,
	}
}
