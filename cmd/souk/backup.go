package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/backup"
	"github.com/souk-market/souk/core/store/badger"
)

// backupCommand writes all that the store holds into a file.
type backupCommand struct {
	adminFlags
	Out   string `required:"" placeholder:"FILE" help:"The file to write. One that is there is not replaced, without --force."`
	Since string `placeholder:"FILE" help:"Write only what has changed since this earlier backup, which is needed then too."`
	Data  string `placeholder:"DIR" help:"Read this data directory, of a server that does not run, instead of asking one that does."`
	Force bool   `help:"Replace the file."`
}

// Help says more than one line does.
func (c *backupCommand) Help() string {
	return `The server goes on meanwhile; the file holds the store as it was at one moment. It
is FILE.partial until it is whole, checked and on the disk.

A file with --since holds what has changed since the other one, deletes included.
"souk recover" needs all of them, from the full one on, in order.

The files souk.key, admin.token and install.pem, the audit log, config.toml and the
modules of plugins are in no backup. Without souk.key no backup is worth anything:
the keys of all tokens are encrypted under it. Keep a copy elsewhere.`
}

// Run writes a backup.
func (c *backupCommand) Run(std *streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := c.options()
	if err != nil {
		return err
	}
	write := c.online
	if c.Data != "" {
		write = c.offline
	}
	f, err := backup.Save(c.Out, c.Force, func(w io.Writer) error { return write(ctx, std, w, o) })
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted: nothing was written")
	case errors.Is(err, os.ErrExist) && !c.Force:
		return fmt.Errorf("--out: %w (--force replaces it)", err)
	case errors.Is(err, backup.ErrCut):
		return fmt.Errorf("the backup broke off, and nothing was written: the server's log has the cause (%w)", err)
	case err != nil:
		return err
	}
	if c.JSON {
		return std.printJSON(fileJSON(f))
	}
	kind := "full"
	if f.Header.Since != nil {
		kind = "what changed since " + filepath.Base(c.Since)
	}
	fmt.Fprintf(std.out, "%s: %s, %s\n", f.Name, kind, contents(f))
	fmt.Fprintf(std.out, "as of    %s: what was acknowledged before is in it\n", f.Header.Begun.Format(time.RFC3339))
	fmt.Fprintf(std.out, "sha256   %s\n", f.Ref.Sum)
	if !f.Header.Base {
		fmt.Fprintln(std.out, "note     no later backup can build on this one: the store takes no writes at present")
	}
	_, err = fmt.Fprintln(std.out, "not in it: souk.key, admin.token, install.pem, the audit log, config.toml and modules of plugins")
	return err
}

// options reads what names the earlier file.
func (c *backupCommand) options() (o backup.Options, err error) {
	if c.Since == "" {
		return o, nil
	}
	f, err := os.Open(c.Since)
	if err != nil {
		return o, fmt.Errorf("--since: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return o, fmt.Errorf("--since: %w", err)
	}
	h, ref, err := backup.Last(f, info.Size())
	switch {
	case err != nil:
		return o, fmt.Errorf("--since: %s: %w", c.Since, err)
	case !h.Base:
		return o, fmt.Errorf("--since: %s: was made while the store took no writes, so no backup can build on it: make a full one", c.Since)
	}
	return backup.Options{Since: &ref, SinceBegun: h.Begun}, nil
}

// silence is how long a server may say nothing before it is given up.
const silence = 5 * time.Minute

// online asks the running server.
func (c *backupCommand) online(ctx context.Context, std *streams, w io.Writer, o backup.Options) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	body := map[string]any{}
	if o.Since != nil {
		body["since"], body["since_begun"] = o.Since, o.SinceBegun
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(fmt.Errorf("the server has said nothing for %v", silence)) })
	defer quiet.Stop()
	res, err := api.stream(ctx, call{method: "POST", path: "/api/backup", body: body})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	about, _ := strconv.ParseInt(res.Header.Get("Souk-Backup-Size"), 10, 64) // or it is not known
	bar := std.progress("backup", about)
	alive := writer(func(b []byte) (int, error) { quiet.Reset(silence); return len(b), nil })
	_, err = io.Copy(io.MultiWriter(w, bar, alive), res.Body)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	} else if errors.Is(err, io.ErrUnexpectedEOF) {
		err = backup.ErrCut
	}
	return errors.Join(err, bar.Close())
}

type writer func(b []byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// offline reads a data directory.
func (c *backupCommand) offline(ctx context.Context, std *streams, w io.Writer, o backup.Options) error {
	dir := filepath.Join(c.Data, "store")
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("--data: %s is no data directory of a server: it has no store", c.Data)
	}
	e, err := badger.Open(badger.Options{Dir: dir, Sync: runtime.GOOS != "windows", MinFree: 1})
	if errors.Is(err, store.ErrLocked) {
		return fmt.Errorf("--data: %s is of a server that runs: leave --data out, and the server is asked", c.Data)
	} else if err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	if o.Format, err = store.FormatOf(ctx, e); err == nil {
		bar := std.progress("backup", e.Size())
		_, err = backup.Write(ctx, io.MultiWriter(w, bar), e, o)
		err = errors.Join(err, bar.Close())
	}
	if errors.Is(err, backup.ErrNoBase) {
		err = errors.New("--since: no backup can build on that one any more, or it is of another store: make a full one")
	}
	return errors.Join(err, e.Close())
}

// progress shows how far something is, on a terminal; bytes is about how many there
// will be, 0 = nobody knows.
func (s *streams) progress(what string, bytes int64) io.WriteCloser {
	f, ok := s.err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return bar{}
	}
	if bytes <= 0 {
		bytes = -1
	}
	return bar{progressbar.NewOptions64(bytes,
		progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what), progressbar.OptionShowBytes(true), progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(true),
	)}
}

// bar swallows what goes wrong with it: what it shows matters to nobody else.
type bar struct{ shown *progressbar.ProgressBar }

func (b bar) Write(p []byte) (int, error) {
	if b.shown != nil {
		_ = b.shown.Add(len(p))
	}
	return len(p), nil
}

func (b bar) Close() error {
	if b.shown != nil {
		_ = b.shown.Finish()
	}
	return nil
}

// contents says what a file holds.
func contents(f backup.File) string {
	var kinds []string
	for _, table := range slices.Sorted(maps.Keys(f.Tables)) {
		if k := store.Kind(table); f.Tables[table] > 0 {
			kinds = append(kinds, fmt.Sprintf("%d %s", f.Tables[table], k))
		}
	}
	text := fmt.Sprintf("%d records", f.Records)
	if len(kinds) > 0 {
		text += " (" + strings.Join(kinds, ", ") + ")"
	}
	if f.Header.Since != nil {
		text += fmt.Sprintf(", %d that are gone", f.Gone)
	}
	return text + ", " + size(f.Size)
}

func size(bytes int64) string {
	if bytes < 1e6 {
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
}

// backupFile is a file as it is printed for machines.
type backupFile struct {
	File    string            `json:"file"`
	Header  backup.Header     `json:"header"`
	SHA256  backup.Sum        `json:"sha256"`
	Bytes   int64             `json:"bytes"`
	Records uint64            `json:"records"`
	Gone    uint64            `json:"gone"`
	Kinds   map[string]uint64 `json:"kinds"`
}

func fileJSON(f backup.File) backupFile {
	kinds := map[string]uint64{}
	for table, n := range f.Tables {
		kinds[store.Kind(table)] = n
	}
	return backupFile{f.Name, f.Header, f.Ref.Sum, f.Size, f.Records, f.Gone, kinds}
}

// stream sends a request whose answer may take long, and returns it once it begins.
func (c *client) stream(ctx context.Context, q call) (*http.Response, error) {
	req, err := c.request(q)
	if err != nil {
		return nil, err
	}
	patient := *c.http
	patient.Timeout = 0
	res, err := patient.Do(req.WithContext(ctx))
	if err != nil {
		return nil, c.unreachable(err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.base, err)
	}
	return nil, c.refused(res.StatusCode, text)
}
