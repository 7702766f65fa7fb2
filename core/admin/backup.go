package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/store/backup"
)

// backup answers POST /api/backup with a file, as package backup has it. What goes
// wrong before its first byte is a problem as any other; later the answer breaks off,
// and the file has no end.
func (s *Server) backup(ctx context.Context, r *request) error {
	var body struct {
		Since *backup.Ref `json:"since"` // the file to build on; left out = a full backup
		Begun time.Time   `json:"since_begun"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	if body.Since != nil && body.Begun.IsZero() {
		return problemf(400, "since_begun: is missing: it is what the header of the earlier file has as begun")
	}
	ctx, cancel := context.WithCancel(audit.By(s.base, audit.From(ctx))) // it outlives the handler
	out, in := io.Pipe()
	f := &stream{out: out, conn: r.http.Conn(), cancel: cancel}
	// A client that has stopped to read must not hold up a stop of the server.
	context.AfterFunc(ctx, func() { out.CloseWithError(context.Cause(ctx)) })
	f.writing.Go(func() {
		h, err := backup.Write(ctx, in, s.store, backup.Options{
			Since: body.Since, SinceBegun: body.Begun, Now: s.now, Begin: func(h backup.Header) error { return s.backupTaken(ctx, h) },
		})
		in.CloseWithError(err)
		switch {
		case err != nil && !errors.Is(err, backup.ErrNoBase):
			s.log.Error("backup failed", "backup", h.ID.String(), "error", err)
		case err == nil && !h.Base:
			s.log.Warn("no later backup can build on this one: the store takes no writes", "backup", h.ID.String())
		}
	})
	var err error
	if f.first, err = f.begin(); err != nil {
		return errors.Join(err, f.Close())
	}
	h := &r.http.Response.Header
	h.SetContentType("application/octet-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if size := s.store.Size(); body.Since == nil && size > 0 {
		h.Set("Souk-Backup-Size", strconv.FormatInt(size, 10)) // about
	}
	r.http.Response.SetBodyStream(f, -1)
	return nil
}

// backupTaken writes down that a backup leaves. Where nothing can be written it leaves all
// the same: it changes nothing, and a disk that takes no writes is when one is needed most.
func (s *Server) backupTaken(ctx context.Context, h backup.Header) error {
	e := audit.Entry{Kind: audit.BackupTaken, Detail: map[string]string{"backup": h.ID.String()}}
	if h.Since != nil {
		e.Detail["since"] = h.Since.ID.String()
	}
	err := s.store.Audit(ctx, e)
	if errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrStopped) {
		s.log.Error("a backup is taken that the audit log has no entry of", "backup", h.ID.String(), "error", err)
		err = nil
	}
	s.audit(ctx, err, "backup", slog.String("backup", h.ID.String()), slog.String("since", e.Detail["since"]))
	return err
}

// stream is the body of an answer while it is made. It may take hours, but each piece
// has to leave in time.
type stream struct {
	first   []byte // the beginning, which was awaited
	out     *io.PipeReader
	conn    net.Conn
	cancel  context.CancelFunc
	writing sync.WaitGroup
}

// begin waits for the first bytes.
func (f *stream) begin() ([]byte, error) {
	b := make([]byte, 64)
	n, err := f.out.Read(b)
	return b[:n], err
}

// Read implements io.Reader.
func (f *stream) Read(b []byte) (n int, err error) {
	if len(f.first) > 0 {
		n = copy(b, f.first)
		f.first = f.first[n:]
	} else {
		n, err = f.out.Read(b)
	}
	_ = f.conn.SetWriteDeadline(time.Now().Add(patience)) // one that is closed fails at the write
	return n, err
}

// Close ends the writing, also when the client has gone.
func (f *stream) Close() error {
	f.cancel()
	err := f.out.Close()
	f.writing.Wait()
	return err
}
