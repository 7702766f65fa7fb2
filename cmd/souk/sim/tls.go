package sim

import (
	"crypto/tls"
	"crypto/x509"
	"path/filepath"

	"github.com/souk-market/souk/cmd/souk/child"
)

// throwAwayCertificate makes the server a certificate for as long as the run is, and
// has the devices believe it. They resume no session: a device that asks once a day
// can't.
func (r *run) throwAwayCertificate(dir string) error {
	der, err := child.Certificate(dir, "Souk simulation, throw-away")
	if err != nil {
		return err
	}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(own)
	r.setup.Cert, r.setup.CertKey = filepath.Join(dir, child.CertFile), filepath.Join(dir, child.KeyFile)
	r.tls = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
	return nil
}
