package sim

import "time"

// steady is a usual day.
func steady(r *run) (*scenario, error) {
	return &scenario{length: 24 * time.Hour, speed: 1440, claims: r.usual()}, nil
}
