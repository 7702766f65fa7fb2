package plugin

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"

	"github.com/souk-market/souk/sdk/abi"
)

// wasiModule is what the runtimes of languages import: Go, for one, can't start
// without. Ours denies everything: no arguments, environment, files or sockets.
// Time and randomness are the request's, so that an answer can be reproduced;
// sleeping returns at once; output goes to the plugin's log.
const wasiModule = "wasi_snapshot_preview1"

// Error numbers of WASI preview 1.
const (
	wasiOK    = 0
	wasiBadFD = 8
	wasiFault = 21
	wasiInval = 28
	wasiNoSys = 52
)

const (
	// startMS is the time while an instance starts: 2000-01-01. It isn't 0,
	// which Go takes for a broken clock.
	startMS = 946_684_800_000
	// wallClock is the number of the clock that counts from 1970.
	wallClock = 0
	// maxVectors bounds the lists of fd_write and poll_oneoff.
	maxVectors = 1024
)

type wasiFunction struct {
	name string
	signature
	call func(*instance, []uint64)
}

func answer(errno uint64) func(*instance, []uint64) {
	return func(in *instance, stack []uint64) {
		in.charge(priceCall)
		stack[0] = errno
	}
}

// wasi is the whole of preview 1; what is not answered for a reason says that
// there is no such file, or no such thing.
var wasi = []wasiFunction{
	{"args_get", signature{"ii", "i"}, answer(wasiOK)},
	{"args_sizes_get", signature{"ii", "i"}, wasiNone},
	{"environ_get", signature{"ii", "i"}, answer(wasiOK)},
	{"environ_sizes_get", signature{"ii", "i"}, wasiNone},
	{"clock_res_get", signature{"ii", "i"}, wasiClockRes},
	{"clock_time_get", signature{"iIi", "i"}, wasiClockTime},
	{"random_get", signature{"ii", "i"}, wasiRandom},
	{"fd_write", signature{"iiii", "i"}, wasiWrite},
	{"poll_oneoff", signature{"iiii", "i"}, wasiPoll},
	{"sched_yield", signature{"", "i"}, answer(wasiOK)},
	{"proc_exit", signature{"i", ""}, wasiExit},

	{"fd_advise", signature{"iIIi", "i"}, answer(wasiBadFD)},
	{"fd_allocate", signature{"iII", "i"}, answer(wasiBadFD)},
	{"fd_close", signature{"i", "i"}, answer(wasiBadFD)},
	{"fd_datasync", signature{"i", "i"}, answer(wasiBadFD)},
	{"fd_fdstat_get", signature{"ii", "i"}, answer(wasiBadFD)},
	{"fd_fdstat_set_flags", signature{"ii", "i"}, answer(wasiBadFD)},
	{"fd_fdstat_set_rights", signature{"iII", "i"}, answer(wasiBadFD)},
	{"fd_filestat_get", signature{"ii", "i"}, answer(wasiBadFD)},
	{"fd_filestat_set_size", signature{"iI", "i"}, answer(wasiBadFD)},
	{"fd_filestat_set_times", signature{"iIIi", "i"}, answer(wasiBadFD)},
	{"fd_pread", signature{"iiiIi", "i"}, answer(wasiBadFD)},
	{"fd_prestat_get", signature{"ii", "i"}, answer(wasiBadFD)},
	{"fd_prestat_dir_name", signature{"iii", "i"}, answer(wasiBadFD)},
	{"fd_pwrite", signature{"iiiIi", "i"}, answer(wasiBadFD)},
	{"fd_read", signature{"iiii", "i"}, answer(wasiBadFD)},
	{"fd_readdir", signature{"iiiIi", "i"}, answer(wasiBadFD)},
	{"fd_renumber", signature{"ii", "i"}, answer(wasiBadFD)},
	{"fd_seek", signature{"iIii", "i"}, answer(wasiBadFD)},
	{"fd_sync", signature{"i", "i"}, answer(wasiBadFD)},
	{"fd_tell", signature{"ii", "i"}, answer(wasiBadFD)},
	{"path_create_directory", signature{"iii", "i"}, answer(wasiBadFD)},
	{"path_filestat_get", signature{"iiiii", "i"}, answer(wasiBadFD)},
	{"path_filestat_set_times", signature{"iiiiIIi", "i"}, answer(wasiBadFD)},
	{"path_link", signature{"iiiiiii", "i"}, answer(wasiBadFD)},
	{"path_open", signature{"iiiiiIIii", "i"}, answer(wasiBadFD)},
	{"path_readlink", signature{"iiiiii", "i"}, answer(wasiBadFD)},
	{"path_remove_directory", signature{"iii", "i"}, answer(wasiBadFD)},
	{"path_rename", signature{"iiiiii", "i"}, answer(wasiBadFD)},
	{"path_symlink", signature{"iiiii", "i"}, answer(wasiBadFD)},
	{"path_unlink_file", signature{"iii", "i"}, answer(wasiBadFD)},
	{"proc_raise", signature{"i", "i"}, answer(wasiNoSys)},
	{"sock_accept", signature{"iii", "i"}, answer(wasiBadFD)},
	{"sock_recv", signature{"iiiiii", "i"}, answer(wasiBadFD)},
	{"sock_send", signature{"iiiii", "i"}, answer(wasiBadFD)},
	{"sock_shutdown", signature{"ii", "i"}, answer(wasiBadFD)},
}

func wasiCode(ok bool) uint64 {
	if ok {
		return wasiOK
	}
	return wasiFault
}

// wasiNone says that there are 0 arguments or variables of 0 bytes.
func wasiNone(in *instance, stack []uint64) {
	in.charge(priceCall)
	ok := in.mem.WriteUint32Le(uint32(stack[0]), 0) && in.mem.WriteUint32Le(uint32(stack[1]), 0)
	stack[0] = wasiCode(ok)
}

// clock_res_get(clock, out)
func wasiClockRes(in *instance, stack []uint64) {
	in.charge(priceCall)
	stack[0] = wasiCode(in.mem.WriteUint64Le(uint32(stack[1]), 1_000_000))
}

// clock_time_get(clock, precision, out)
func wasiClockTime(in *instance, stack []uint64) {
	in.charge(priceCall)
	stack[0] = wasiCode(in.mem.WriteUint64Le(uint32(stack[2]), in.clock(uint32(stack[0]))))
}

// clock returns ns. The wall clock says the time of the request, and later only
// by what was slept. The others do the same but never go back, though the next
// request may be an older one, and are never 0: the collector of a Go guest
// stumbles over both.
func (in *instance) clock(id uint32) uint64 {
	now := in.asked.nowMS * 1_000_000
	if in.asked.hook == 0 {
		now = startMS * 1_000_000
	}
	if id == wallClock {
		return now + in.slept
	}
	if !in.timed {
		in.ahead, in.timed = max(in.steady, now, 1)-now, true
	}
	in.steady = now + in.ahead + in.slept
	return in.steady
}

// random_get(out, n)
func wasiRandom(in *instance, stack []uint64) {
	b, ok := in.bytes(stack[0], stack[1])
	in.charge(priceCall + uint64(len(b))/priceByte)
	if ok {
		in.random(b)
	}
	stack[0] = wasiCode(ok)
}

// random fills b from a stream that the question determines.
func (in *instance) random(b []byte) {
	if !in.seeded {
		in.rng.Seed(in.randomKey())
		in.seeded = true
	}
	in.rng.Read(b)
}

// randomKey is where the stream of random_get begins. A secret that a guest makes
// of it, such as a PKCE verifier, needs more than the 64 bits of a seed that every
// plugin of the chain can read: so it hangs on what no guest is told, and on the
// plugin's name.
func (in *instance) randomKey() [32]byte {
	q := in.asked
	var key [32]byte
	copy(key[:], "souk random_get")
	binary.LittleEndian.PutUint64(key[16:], q.seed)
	binary.LittleEndian.PutUint64(key[24:], uint64(q.hook))
	if q.random != [32]byte{} {
		mac := hmac.New(sha256.New, q.random[:])
		mac.Write(key[:])
		mac.Write([]byte(in.name))
		mac.Sum(key[:0])
	}
	return key
}

// fd_write(fd, vectors, count, out)
func wasiWrite(in *instance, stack []uint64) {
	in.charge(priceCall)
	fd, count, out := uint32(stack[0]), uint64(uint32(stack[2])), uint32(stack[3])
	if fd != 1 && fd != 2 {
		stack[0] = wasiBadFD
		return
	}
	vectors, ok := in.bytes(stack[1], count*8)
	if !ok || count > maxVectors {
		stack[0] = wasiFault
		return
	}
	var total uint32
	for ; len(vectors) > 0; vectors = vectors[8:] {
		at, n := binary.LittleEndian.Uint32(vectors), binary.LittleEndian.Uint32(vectors[4:])
		b, ok := in.bytes(uint64(at), uint64(n))
		if !ok {
			stack[0] = wasiFault
			return
		}
		in.charge(uint64(n) / priceByte)
		in.write(fd, b)
		total += n
	}
	stack[0] = wasiCode(in.mem.WriteUint32Le(out, total))
}

// write collects output until its line is complete.
func (in *instance) write(fd uint32, b []byte) {
	for len(b) > 0 {
		part := b
		end := bytes.IndexByte(b[:min(len(b), logLine)], '\n')
		if end >= 0 {
			part, b = b[:end], b[end+1:]
		} else {
			part, b = b[:min(len(b), logLine)], b[min(len(b), logLine):]
		}
		in.output = append(in.output, part...)
		if end >= 0 || len(in.output) >= logLine {
			in.flush(fd)
		}
	}
}

// flush writes the collected output to the log as one line.
func (in *instance) flush(fd uint32) {
	if len(in.output) == 0 {
		return
	}
	in.charge(priceLine)
	text := in.redact(string(in.output))
	in.output = in.output[:0]
	if fd == 2 && in.complaint == "" {
		in.complaint = text // the cause of a trap, as the guest's runtime tells it
	}
	level := slog.LevelInfo
	if fd == 2 {
		level = slog.LevelWarn
	}
	in.line(level, text)
}

// poll_oneoff(in, out, count, events): every subscription to a clock is due,
// and the clock goes on to where it would be then.
func wasiPoll(in *instance, stack []uint64) {
	const subscription, event = 48, 32
	count := uint64(uint32(stack[2]))
	in.charge(priceCall)
	if count == 0 || count > maxVectors {
		stack[0] = wasiInval
		return
	}
	in.charge(count)
	subs, ok1 := in.bytes(stack[0], count*subscription)
	events, ok2 := in.bytes(stack[1], count*event)
	if !ok1 || !ok2 {
		stack[0] = wasiFault
		return
	}
	var ahead uint64
	for i := range count {
		var e [event]byte // the two lists may overlap
		s := subs[i*subscription:]
		copy(e[:8], s[:8]) // the guest's own mark
		e[10] = s[8]
		if s[8] == 0 { // a clock
			wait := binary.LittleEndian.Uint64(s[24:])
			if absolute := s[40]&1 == 1; absolute {
				wait -= min(wait, in.clock(binary.LittleEndian.Uint32(s[16:])))
			}
			ahead = max(ahead, wait)
		} else {
			binary.LittleEndian.PutUint16(e[8:], wasiBadFD)
		}
		copy(events[i*event:], e[:])
	}
	if ahead < 1<<60 { // longer than 36 years is a mistake
		in.slept += ahead
	}
	stack[0] = wasiCode(in.mem.WriteUint32Le(uint32(stack[3]), uint32(count)))
}

// proc_exit(code) ends the call, and with it the instance.
func wasiExit(in *instance, stack []uint64) {
	panic(exitError(uint32(stack[0])))
}

type exitError uint32

func (e exitError) Error() string {
	return fmt.Sprintf("the guest ended itself with code %d", uint32(e))
}

// say writes a line of the guest's to its log.
func (in *instance) say(level uint32, text string) {
	if abi.Level(level) == abi.LevelDebug && !in.debugs() {
		return
	}
	in.line(logLevel(level), in.redact(text))
}
