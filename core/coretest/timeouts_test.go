package coretest_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/unit"
)

// Timeouts are the connections' own, and fasthttp knows a connection by what was wrapped
// around it: each holds under TLS and with a limit of connections of an address, behind an
// update check and behind anything else.
func TestTimeoutsHoldWhateverAConnectionIsWrappedIn(t *testing.T) {
	t.Parallel()
	const short, long = 3 * time.Second, time.Hour
	pair := httptest.NewTLSServer(nil)
	t.Cleanup(pair.Close)
	trust := pair.Client().Transport.(*http.Transport).TLSClientConfig
	check := overloadSized(overloadAppsHead, appsBody("iOS", deviceOS, skyApp))
	for _, test := range []struct {
		name       string
		secret     bool
		then       string // is said behind the answer
		read, idle time.Duration
	}{
		{"plain, a rest", false, "", long, short},
		{"plain, the rest of a request", false, "POST /upd", short, long},
		{"TLS, a rest", true, "", long, short},
		{"TLS, the rest of a request", true, "POST /upd", short, long},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := coretest.Start(t, func(c *core.Config) {
				c.Limits.ReadTimeout, c.Limits.IdleTimeout = unit.Duration(test.read), unit.Duration(test.idle)
				c.Limits.ConnectionsPerAddress = 10
				if test.secret {
					c.TLS.Cert, c.TLS.Key = overloadPEM(t, c.Dir, &pair.TLS.Certificates[0])
				}
			})
			_, address, _ := strings.Cut(s.PublicURL(), "://")
			firsts := []string{overloadGet, check}
			atOnce(len(firsts), func(i int) {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				if test.secret {
					config := trust.Clone()
					config.ServerName = "example.com" // of httptest's certificate
					conn = tls.Client(conn, config)
				}
				if err := timesOut(conn, firsts[i], test.then, short); err != nil {
					t.Errorf("behind %.20q: %v", firsts[i], err)
				}
			})
		})
	}
}

// timesOut asks a connection something, then says something else that is no request, and
// says what is wrong if the server doesn't end it after a while.
func timesOut(conn net.Conn, first, then string, after time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(overloadPatience)); err != nil {
		return err
	}
	began := time.Now() // a rest counts from when an update check had arrived
	if _, err := io.WriteString(conn, first); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %d, %w", res.StatusCode, err)
	}
	if _, err := io.WriteString(conn, then); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	if took := time.Since(began); took < after || took > overloadPatience*9/10 {
		return fmt.Errorf("ended after %v with %w, want little more than %v", took, err, after)
	}
	return nil
}
