package admin

import (
	"context"
	"log/slog"

	"github.com/souk-market/souk/core/catalog"
)

// putRollout answers PUT /api/apps/{item}/versions/{version}/rollout: what is
// given changes, the rest stays.
func (s *Server) putRollout(ctx context.Context, r *request) error {
	item, version, err := r.release()
	if err != nil {
		return err
	}
	var body struct {
		Share  *int    `json:"share"` // basis points
		Salt   *string `json:"salt"`
		Halted *bool   `json:"halted"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	switch {
	case body.Share == nil && body.Salt == nil && body.Halted == nil:
		return problemf(400, "the body says nothing: give share, salt or halted")
	case body.Share != nil && (*body.Share < 0 || *body.Share > catalog.FullShare):
		return problemf(400, "share: %d is out of range: use basis points from 0 to %d (2500 is a quarter)", *body.Share, catalog.FullShare)
	}
	before := s.stored(item, version)
	it, err := s.catalog.SetRollout(ctx, item, version, body.Share, body.Halted, body.Salt)
	s.audit(ctx, err, "version.rollout", appAttr(item), versionAttr(version),
		rolloutAttr("old", before.Rollout), rolloutAttr("new", versionOf(it, version).Rollout))
	if err != nil {
		return err
	}
	return r.write(200, it)
}

// putWithdrawn answers PUT /api/apps/{item}/versions/{version}/withdrawn.
func (s *Server) putWithdrawn(ctx context.Context, r *request) error {
	item, version, err := r.release()
	if err != nil {
		return err
	}
	var body struct {
		Withdrawn *bool `json:"withdrawn"`
	}
	if err := r.read(&body); err != nil {
		return err
	}
	if body.Withdrawn == nil {
		return problemf(400, "withdrawn: is missing: write true or false")
	}
	before := s.stored(item, version)
	it, err := s.catalog.Withdraw(ctx, item, version, *body.Withdrawn)
	s.audit(ctx, err, "version.withdrawn", appAttr(item), versionAttr(version),
		slog.Bool("old", before.Withdrawn), slog.Bool("new", *body.Withdrawn))
	if err != nil {
		return err
	}
	return r.write(200, it)
}

// release is the version of an app that the path names.
func (r *request) release() (item, version uint64, err error) {
	if item, err = r.item(); err != nil {
		return 0, 0, err
	}
	version, err = r.version()
	return item, version, err
}

// stored is a version as it is before a change; for the audit line only.
func (s *Server) stored(item, version uint64) catalog.Version {
	e := s.catalog.Snapshot().Item(item)
	if e == nil {
		return catalog.Version{}
	}
	return versionOf(e.Item(), version)
}

func versionOf(it catalog.Item, id uint64) catalog.Version {
	for _, v := range it.Versions {
		if v.ID == id {
			return v
		}
	}
	return catalog.Version{}
}

func versionAttr(id uint64) slog.Attr { return slog.String("version", digits(id)) }

func rolloutAttr(key string, r catalog.Rollout) slog.Attr {
	return slog.Group(key, slog.Int("share", r.Share), slog.String("salt", r.Salt), slog.Bool("halted", r.Halted))
}
