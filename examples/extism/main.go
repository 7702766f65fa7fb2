// Extism asks one policy of two hosts, in one run: ours, and extism's, which runs
// modules with the same engine. The policy is sdk/examples/c, the questions are
// update checks, the bytes in and out are the same.
//
//	go run . [-rounds 20]
//
// It is a module of its own, so that nobody who builds the server needs extism.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"log"
	"os"
	"text/tabwriter"
	"time"

	extism "github.com/extism/go-sdk"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/core/plugin/bench"
	"github.com/souk-market/souk/sdk/abi"
	"github.com/souk-market/souk/sdk/examples"
)

//go:embed guest/guest.wasm
var guest []byte

func main() {
	rounds := flag.Int("rounds", 20, "how often each is measured, in turn")
	flag.Parse()
	rows, err := compare(context.Background(), bench.Options{Rounds: *rounds})
	if err != nil {
		log.Fatal(err)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "question\tsouk\textism\twith a deadline\textism to souk\twith a deadline\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%v\t%v\t%v\t%.0f ×\t%.0f ×\t\n", r.question,
			time.Duration(r.souk.Min), time.Duration(r.extism.Min), time.Duration(r.limited.Min), r.ratio(), r.limitedRatio())
	}
	w.Flush()
}

// row is one question. Souk has fuel and a deadline; extism has neither, or a
// deadline.
type row struct {
	question              string
	souk, extism, limited bench.Time
}

func (r row) ratio() float64        { return r.extism.Min / r.souk.Min }
func (r row) limitedRatio() float64 { return r.limited.Min / r.souk.Min }

func compare(ctx context.Context, o bench.Options) ([]row, error) {
	souk, err := hosted(ctx)
	if err != nil {
		return nil, err
	}
	defer souk.Close(ctx)
	free, err := start(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer free.Close(ctx)
	limited, err := start(ctx, time.Minute) // long, because it counts while others have the core
	if err != nil {
		return nil, err
	}
	defer limited.Close(ctx)

	var rows []row
	for _, q := range []bench.Question{call, open, bench.SelectVersion(1), bench.SelectVersion(5)} {
		if err := same(ctx, q, free, limited); err != nil {
			return nil, err
		}
		t, err := bench.Measure(ctx, o, souk.Subject("souk", q), subject("extism", free, q), subject("extism with a deadline", limited, q))
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{q.Name, t[0], t[1], t[2]})
	}
	return rows, nil
}

// call is a question that leaves the policy nothing to do: what is measured is the
// way in and out.
var call = func() bench.Question {
	q := bench.SelectVersion(1)
	return bench.Question{Hook: q.Hook, Name: "no versions", Fill: func(c *plugin.Call, device int) {
		q.Fill(c, device)
		c.SelectVersion.Apps[0].Candidates = nil
	}}
}()

// open is the question about an app whose newest version is out for everybody: what a
// device asks most often, and the policy has no key to hash.
var open = func() bench.Question {
	q := bench.SelectVersion(1)
	return bench.Question{Hook: q.Hook, Name: "1 app, all open", Fill: func(c *plugin.Call, device int) {
		q.Fill(c, device)
		all := &c.SelectVersion.Apps[0].Candidates
		*all = (*all)[2:]
	}}
}()

// c is the example in C.
func c() []byte {
	for _, e := range examples.All() {
		if e.Language == "c" {
			return e.Wasm
		}
	}
	panic("there is no example in C")
}

func hosted(ctx context.Context) (*bench.Hosted, error) {
	s := plugin.DefaultSpec()
	s.Name, s.Wasm = "c", c()
	return bench.NewHosted(ctx, s)
}

// start loads the guest as extism's documentation does, once.
func start(ctx context.Context, deadline time.Duration) (*extism.Plugin, error) {
	manifest := extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: guest}}, Timeout: uint64(deadline.Milliseconds())}
	bucket := extism.NewHostFunctionWithStack("bucket", func(_ context.Context, p *extism.CurrentPlugin, stack []uint64) {
		key, ok := p.Memory().Read(uint32(stack[0]), uint32(stack[1]))
		salt, ok2 := p.Memory().Read(uint32(stack[2]), uint32(stack[3]))
		if !ok || !ok2 {
			panic("bucket: outside of the memory")
		}
		stack[0] = uint64(abi.Bucket(string(key), string(salt)))
	}, []extism.ValueType{extism.ValueTypeI64, extism.ValueTypeI64, extism.ValueTypeI64, extism.ValueTypeI64}, []extism.ValueType{extism.ValueTypeI32})
	return extism.NewPlugin(ctx, manifest, extism.PluginConfig{}, []extism.HostFunction{bucket})
}

// ask returns the bytes of the verdict.
func ask(ctx context.Context, p *extism.Plugin, request []byte) ([]byte, error) {
	code, verdict, err := p.CallWithContext(ctx, "select_version", request)
	if err == nil && code != 0 {
		err = fmt.Errorf("the guest answered code %d", code)
	}
	return verdict, err
}

func subject(name string, p *extism.Plugin, q bench.Question) bench.Subject {
	request := q.Request(0)
	return bench.Subject{Name: name, Run: func(ctx context.Context, calls int) error {
		for range calls {
			if _, err := ask(ctx, p, request); err != nil {
				return err
			}
		}
		return nil
	}}
}

// same checks that what is compared answers the same, with the engine's bare call
// of our module as the judge.
func same(ctx context.Context, q bench.Question, plugins ...*extism.Plugin) error {
	bare, err := bench.NewBare(ctx, c(), q.Hook, false)
	if err != nil {
		return err
	}
	defer bare.Close(ctx)
	for device := range 8 {
		want, err := bare.Call(ctx, q.Request(device))
		if err != nil {
			return err
		}
		for _, p := range plugins {
			got, err := ask(ctx, p, q.Request(device))
			if err != nil {
				return err
			}
			if !bytes.Equal(got, want) {
				return fmt.Errorf("device %d: extism answers %x, souk %x", device, got, want)
			}
		}
	}
	return nil
}
