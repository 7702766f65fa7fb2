package bench

import (
	"bytes"
	"crypto/tls"
	"errors"

	"github.com/souk-market/souk/cmd/souk/child"
	"github.com/souk-market/souk/core"
)

// tlsStage ends TLS itself. A device asks once a day: it has a new connection each
// time, and hardly ever a ticket that is still good.
var tlsStage = &stage{
	name: "tls", tls: true,
	configure: func(c *core.Config) { c.TLS.Cert, c.TLS.Key = child.CertFile, child.KeyFile },
	cases: []httpCase{
		{
			name: "g", does: "an update check over a new TLS 1.3 connection, full handshake", least: 0.90,
			connections: tlsConnections, way: way{tls: true, fresh: true}, clients: checks{apps: appsEach}.clients,
		},
		{
			name: "g-resumed", does: "the same, with a handshake that is resumed", beside: true,
			connections: tlsConnections, way: way{tls: true, fresh: true, resumed: true}, clients: checks{apps: appsEach}.clients,
		},
	},
}

// tlsConnections is how many handshakes there are at a time. They take long, so more
// would only wait.
const tlsConnections = 16

// certify makes a certificate for this machine and returns what a client takes it with:
// none but this one is good.
func certify(dir string) (*tls.Config, error) {
	der, err := child.Certificate(dir, "souk bench")
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"},
		// To compare bytes costs a client less than a chain, and is stricter. The
		// handshake is verified all the same.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) != 1 || !bytes.Equal(s.PeerCertificates[0].Raw, der) {
				return errors.New("the certificate is another one")
			}
			return nil
		},
	}, nil
}
