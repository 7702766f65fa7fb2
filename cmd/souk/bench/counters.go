package bench

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// counters are what the server itself has counted.
type counters struct {
	guestCalls float64 // questions to plugins
	signatures float64 // install verification tokens that were signed
}

// The series that counters come from.
const (
	seriesGuestCalls = "souk_plugin_calls_total"
	seriesSignatures = "souk_install_tokens_signed_total"
)

// readCounters asks the admin listener.
func readCounters(admin, token string) (counters, error) {
	req, err := http.NewRequest(http.MethodGet, admin+"/metrics", nil)
	if err != nil {
		return counters{}, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	client := &http.Client{Timeout: 10 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return counters{}, err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		return counters{}, fmt.Errorf("GET /metrics answered %d", res.StatusCode)
	}
	return parseCounters(res.Body)
}

// parseCounters adds up the series in Prometheus' text format, of which no line has
// a time.
func parseCounters(r io.Reader) (c counters, err error) {
	there := false // without plugins there are no series of theirs; this one always is
	in := bufio.NewScanner(r)
	for in.Scan() {
		line := in.Text()
		name := line[:max(0, strings.IndexAny(line, "{ "))]
		if name != seriesGuestCalls && name != seriesSignatures {
			continue
		}
		n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return c, fmt.Errorf("GET /metrics: %s: %w", name, err)
		}
		if name == seriesGuestCalls {
			c.guestCalls += n
		} else {
			c.signatures, there = c.signatures+n, true
		}
	}
	if in.Err() == nil && !there {
		return c, fmt.Errorf("GET /metrics: %s is not there", seriesSignatures)
	}
	return c, in.Err()
}
