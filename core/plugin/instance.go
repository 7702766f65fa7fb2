package plugin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/souk-market/souk/core/plugin/meter"
	"github.com/souk-market/souk/sdk/abi"
)

// sliceFuel is what a guest gets at a time: 35 to 75 µs, after which the host
// looks at the clock and the garbage collector gets its turn.
const sliceFuel = 50_000

var (
	errFuel     = errors.New("its fuel is used up")
	errDeadline = errors.New("its deadline is over")
)

// question is what the host functions have to know of the call.
type question struct {
	hook    abi.Hook
	purpose abi.Purpose
	nowMS   uint64
	seed    uint64
	random  [32]byte // zero = random_get hangs on the seed alone
	secrets []string // must not be logged
	aside   *aside   // nil = it is asked as usual
}

// nothing is what an instance is asked while it starts.
var nothing = new(question)

func (q *question) name() string {
	if q.hook == 0 {
		return "start"
	}
	return q.hook.String()
}

// redact takes out what a person typed: a log must not keep it, not even in the
// text of a guest's panic.
func (q *question) redact(text string) string {
	for _, s := range q.secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "[…]")
		}
	}
	return text
}

// personal says whether somebody waits for the answer about himself. What takes
// long, or what few should see, is for these questions only.
func (q *question) personal() bool { return q.hook == abi.HookSignIn || q.hook == abi.HookExchange }

// running is the context of all that a guest runs. Host functions find their
// instance through it, with a type assertion instead of a look-up.
type running struct {
	context.Context
	in *instance
}

// instance is one copy of a guest. It answers one question at a time; the slot
// that holds it is locked meanwhile.
type instance struct {
	*generation
	mod    api.Module
	mem    api.Memory
	fuel   api.MutableGlobal
	buffer api.Function
	hooks  [hookCount]api.Function
	ctx    running
	stack  [1]uint64

	bufferAt, bufferLen uint32

	// Of the call that runs.
	caller   context.Context
	asked    *question     // nothing while no call runs
	budget   uint64        // fuel of the call
	left     uint64        // of it, what the guest's counter doesn't hold yet
	limit    time.Duration // 0 = none
	deadline time.Duration // on the clock of since; 0 = not set
	hostLeft time.Duration // of the host's deadline

	slept     uint64 // ns
	timed     bool   // ahead is set
	ahead     uint64 // ns by which the steady clock is ahead of the wall clock
	steady    uint64 // ns of the steady clock when it was last read, in any call
	seeded    bool
	rng       rand.ChaCha8
	output    []byte // of fd_write, until its line is complete
	complaint string // the first line of standard error
}

var epoch = time.Now()

// since is a clock that never goes back.
func since() time.Duration { return time.Since(epoch) }

// attach notes what belongs to the instance. It is needed because a start
// function runs before InstantiateModule returns.
func (in *instance) attach(mod api.Module) {
	if in.mod != nil {
		return
	}
	in.mod, in.mem = mod, mod.Memory()
	in.fuel = mod.ExportedGlobal(meter.FuelGlobal).(api.MutableGlobal)
}

// start makes an instance that is ready to be asked. The start section,
// _initialize and configure share one budget.
func (g *generation) start(caller context.Context) (in *instance, err error) {
	in = &instance{generation: g, caller: caller, asked: nothing}
	in.ctx = running{context.Background(), in}
	in.budget, in.left = g.spec.StartFuel, g.spec.StartFuel
	in.limit, in.hostLeft = g.spec.StartDeadline.Std(), g.spec.HostDeadline.Std()
	if g.timeless {
		in.limit = 0
	}
	defer func() {
		if r := recover(); r != nil {
			f := in.panicked(r)
			err = fmt.Errorf("%s: %s", f.kind, f.reason)
		}
		if err != nil {
			in.close()
			in = nil
			return
		}
		in.caller = nil
	}()

	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	mod, err := g.runtime.InstantiateModule(&in.ctx, g.compiled, config)
	if err != nil {
		return in, in.startError("its start section", err)
	}
	in.attach(mod)
	if f := mod.ExportedFunction(abi.ExportInitialize); f != nil {
		if err := f.CallWithStack(&in.ctx, nil); err != nil {
			return in, in.startError(abi.ExportInitialize, err)
		}
	}
	in.buffer = mod.ExportedFunction(abi.ExportBuffer)
	if err := in.room(abi.BufferSize); err != nil {
		return in, in.startError(abi.ExportBuffer, err)
	}
	if f := mod.ExportedFunction(abi.ExportConfigure); f != nil {
		if err := in.configure(f); err != nil {
			return in, err
		}
	} else if string(g.config) != "{}" {
		return in, errors.New("the module takes no configuration: remove its [plugin.config]")
	}
	in.finish()
	g.startFuel.Store(in.used())
	for _, h := range g.hooks {
		in.hooks[h] = mod.ExportedFunction(h.String())
	}
	return in, nil
}

func (in *instance) configure(f api.Function) error {
	if err := in.room(uint32(len(in.config))); err != nil {
		return in.startError(abi.ExportBuffer, err)
	}
	if !in.mem.Write(in.bufferAt, in.config) {
		return fmt.Errorf("%s answered an address outside of the memory", abi.ExportBuffer)
	}
	in.stack[0] = uint64(len(in.config))
	if err := f.CallWithStack(&in.ctx, in.stack[:]); err != nil {
		return in.startError(abi.ExportConfigure, err)
	}
	if in.stack[0] == 0 {
		return nil
	}
	at, n := in.stack[0]>>32, uint32(in.stack[0])
	if at == 0 {
		return fmt.Errorf("configure refused with code %d", n)
	}
	text, ok := in.text(at, uint64(min(n, logLine)))
	if !ok {
		return errors.New("configure answered an address outside of the memory")
	}
	return fmt.Errorf("config: %s", sanitize(strings.TrimPrefix(text, "config: ")))
}

func (in *instance) startError(where string, err error) error {
	f := in.fault(err)
	switch {
	case f.kind == KindFuel:
		return fmt.Errorf("%s: %s: %s: do less, or raise start_fuel", where, f.kind, f.reason)
	case f.kind == KindDeadline && in.caller.Err() == nil:
		return fmt.Errorf("%s: %s: %s: do less, or raise start_deadline where the machine is busy", where, f.kind, f.reason)
	}
	return fmt.Errorf("%s: %s: %s", where, f.kind, sanitize(f.reason))
}

var errNoRoom = errors.New("the guest has no space")

// room asks the guest for a buffer that takes n bytes.
func (in *instance) room(n uint32) error {
	if n <= in.bufferLen {
		return nil
	}
	in.stack[0] = uint64(n)
	if err := in.buffer.CallWithStack(&in.ctx, in.stack[:]); err != nil {
		return err
	}
	in.bufferAt, in.bufferLen = uint32(in.stack[0]), 0
	if in.bufferAt == 0 || !in.space(uint64(in.bufferAt), uint64(n)) {
		return fmt.Errorf("%w for a message of %d bytes", errNoRoom, n)
	}
	in.bufferLen = n
	return nil
}

// ask puts a question to the guest. The verdict lies in the guest's memory: it
// is good until the instance is used again; nil is an abstention.
// hot: called for every update check with a candidate; no allocation.
func (in *instance) ask(caller context.Context, q *question, msg []byte, most uint32) (verdict []byte, f *fault) {
	in.caller, in.asked = caller, q
	in.budget = in.spec.Fuel
	first := min(in.budget, sliceFuel)
	in.left = in.budget - first
	in.fuel.Set(first)
	in.limit, in.deadline = in.spec.Deadline.Std(), 0
	if in.timeless {
		in.limit = 0
	}
	in.hostLeft = in.spec.HostDeadline.Std()
	in.slept, in.timed, in.seeded, in.complaint = 0, false, false, ""

	defer in.rescue(&f)
	if err := in.room(uint32(len(msg))); err != nil {
		return nil, in.fault(err)
	}
	if !in.mem.Write(in.bufferAt, msg) {
		return nil, faultf(KindMemory, "%s answered an address outside of the memory", abi.ExportBuffer)
	}
	in.stack[0] = uint64(len(msg))
	err := in.hooks[q.hook].CallWithStack(&in.ctx, in.stack[:])
	if err != nil {
		return nil, in.fault(err)
	}
	result := in.stack[0]
	in.finish()
	if q.secrets != nil {
		in.forget(len(msg), result)
	}
	if result == 0 {
		return nil, nil
	}
	at, n := uint32(result>>32), uint32(result)
	switch {
	case at == 0:
		return nil, in.blame(faultf(KindErrorCode, "the guest answered code %d", n))
	case n > most:
		return nil, faultf(KindNonsense, "a verdict of %d bytes: at most %d are possible", n, most)
	}
	verdict, ok := in.mem.Read(at, n)
	if !ok {
		return nil, faultf(KindNonsense, "a verdict of %d bytes at %d is outside of the memory", n, at)
	}
	return verdict, nil
}

// rescue turns a panic of the host's own into a failure of this call.
func (in *instance) rescue(f **fault) {
	if r := recover(); r != nil {
		*f = in.panicked(r)
	}
	in.caller, in.asked = nil, nothing
}

// panicked says what a panic outside of the guest means: the last line of its
// output has its price too.
func (in *instance) panicked(r any) *fault {
	if err, ok := r.(error); ok && (errors.Is(err, errFuel) || errors.Is(err, errDeadline)) {
		return in.fault(err)
	}
	return faultf(KindTrap, "host: %v", r)
}

// finish settles what is left open when the guest has returned.
func (in *instance) finish() { in.flush(2) }

// forget clears what a person typed from the buffer, unless the guest put its
// verdict there.
func (in *instance) forget(n int, result uint64) {
	at, end := uint64(in.bufferAt), uint64(in.bufferAt)+uint64(n)
	if from := result >> 32; result != 0 && from < end && from+uint64(uint32(result)) > at {
		return
	}
	if b, ok := in.mem.Read(in.bufferAt, uint32(n)); ok {
		clear(b)
	}
}

// used is the fuel of the call so far.
func (in *instance) used() uint64 {
	return uint64(int64(in.budget-in.left) - int64(in.fuel.Get()))
}

// charge takes fuel for what the host does for the guest.
func (in *instance) charge(units uint64) {
	have := int64(in.fuel.Get()) - int64(units)
	in.fuel.Set(uint64(have))
	if have < 0 {
		in.refill()
	}
}

// refill gives the guest its next slice, or ends the call. It adds: what the
// counter is below zero has been used.
func (in *instance) refill() {
	have := int64(in.fuel.Get())
	want := uint64(max(sliceFuel, -have))
	if want > in.left {
		if want = in.left; have+int64(want) < 0 || want == 0 {
			panic(errFuel)
		}
	}
	if in.limit > 0 {
		switch now := since(); {
		case in.deadline == 0: // the first slice needs no clock
			in.deadline = now + in.limit
		case now > in.deadline:
			panic(errDeadline)
		}
		if in.caller.Err() != nil {
			panic(errDeadline)
		}
	}
	in.left -= want
	in.fuel.Set(uint64(have + int64(want)))
}

// outside runs what takes time outside of the guest: it isn't counted towards
// the guest's deadline, it has its own.
func (in *instance) outside(f func(context.Context) error) error {
	ctx := in.caller
	began := since()
	if !in.timeless {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, in.hostLeft)
		defer cancel()
	}
	err := f(ctx)
	took := since() - began
	in.hostLeft = max(0, in.hostLeft-took)
	if in.deadline > 0 {
		in.deadline += took
	}
	return err
}

// fault says what the error of a call is.
func (in *instance) fault(err error) *fault {
	switch {
	case errors.Is(err, errFuel):
		return faultf(KindFuel, "%v: %d", errFuel, in.budget)
	case errors.Is(err, errDeadline):
		if in.caller.Err() != nil {
			return faultf(KindDeadline, "the request was given up: %v", in.caller.Err()).excused()
		}
		return faultf(KindDeadline, "%v: %v", errDeadline, in.limit)
	case errors.Is(err, errNoRoom):
		return faultf(KindMemory, "%v", err)
	}
	if exit, ok := errors.AsType[exitError](err); ok {
		return in.blame(faultf(KindTrap, "%v", exit))
	}
	return in.blame(faultf(KindTrap, "%s", brief(err.Error())))
}

// blame adds what the guest's runtime said about it.
func (in *instance) blame(f *fault) *fault {
	if len(in.output) > 0 && in.complaint == "" {
		in.complaint = in.redact(string(in.output))
	}
	in.output = in.output[:0]
	if in.complaint != "" {
		f.reason += ": " + in.complaint
	}
	return f
}

// redact takes out what must not be logged.
func (in *instance) redact(text string) string { return in.secrets.redact(in.asked.redact(text)) }

// brief makes one line of the engine's text: the cause and the innermost
// functions.
func brief(text string) string {
	cause, trace, _ := strings.Cut(text, "\nwasm stack trace:")
	cause = strings.TrimSuffix(strings.TrimPrefix(cause, "wasm error: "), " (recovered by wazero)")
	var frames []string
	for line := range strings.Lines(trace) {
		line = strings.TrimSpace(line)
		name, _, ok := strings.Cut(strings.TrimPrefix(line, "."), "(")
		if !ok || strings.HasPrefix(name, "$") || name == meter.ImportModule+"."+meter.ImportRefill {
			continue
		}
		if frames = append(frames, name); len(frames) == 4 {
			break
		}
	}
	if len(frames) > 0 {
		cause += " in " + strings.Join(frames, " < ")
	}
	return cause
}

// close gives the instance's memory back.
func (in *instance) close() {
	if in.mod != nil {
		in.mod.Close(context.Background())
	}
}
