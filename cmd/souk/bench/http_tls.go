package bench

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/souk-market/souk/core"
)

// tlsStage ends TLS itself. A device asks once a day: it has a new connection each
// time, and hardly ever a ticket that is still good.
var tlsStage = &stage{
	name: "tls", tls: true,
	configure: func(c *core.Config) { c.TLS.Cert, c.TLS.Key = certFile, keyFile },
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

// The files of the certificate, in the directory of the run.
const (
	certFile = "cert.pem"
	keyFile  = "key.pem"
)

// certify makes a certificate for this machine and returns what a client takes it with:
// none but this one is good.
func certify(dir string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "souk bench"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(7 * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
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
		}, errors.Join(
			os.WriteFile(filepath.Join(dir, certFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
			os.WriteFile(filepath.Join(dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600),
		)
}
