package oauth_test

import (
	"crypto/rand"
	"strconv"
	"testing"
	"time"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/token"
)

// BenchmarkRefresh is a refresh without HTTP and without a disk: what the rules and
// the records of one cost. souk bench --case f has the whole.
func BenchmarkRefresh(b *testing.B) {
	engine, err := badger.Open(badger.Options{InMemory: true})
	if err != nil {
		b.Fatal(err)
	}
	s, err := store.Open(b.Context(), engine, store.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	clients, err := oauth.NewClients("https://market.example.com", nil)
	if err != nil {
		b.Fatal(err)
	}
	key, err := token.NewKey(rand.Reader, 1, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	ring, err := token.NewRing([]token.Key{key})
	if err != nil {
		b.Fatal(err)
	}
	server := &oauth.Server{
		Issuer: "https://market.example.com", Config: oauth.DefaultConfig(), Lives: oauth.DefaultLives(), Clients: clients,
		Store: s, Ring: func() *token.Ring { return ring }, Now: time.Now, Rand: rand.Reader,
	}
	ask := func(pairs ...oauth.Pair) *oauth.TokenResponse {
		params, err := oauth.NewParams(pairs, 1<<10)
		if err != nil {
			b.Fatal(err)
		}
		t, err := server.Token(b.Context(), oauth.TokenRequest{Params: params})
		if err != nil {
			b.Fatal(err)
		}
		return t
	}
	devices := make([]string, 1024)
	for i := range devices {
		subject, err := server.SubjectToken(b.Context(), "person-"+strconv.Itoa(i)+"@example.com")
		if err != nil {
			b.Fatal(err)
		}
		devices[i] = ask(oauth.Pair{Name: "grant_type", Value: oauth.GrantTokenExchange}, oauth.Pair{Name: "client_id", Value: strconv.Itoa(i)},
			oauth.Pair{Name: "subject_token", Value: subject}, oauth.Pair{Name: "subject_token_type", Value: oauth.TypeAccessToken}).RefreshToken
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		at := n % len(devices)
		devices[at] = ask(oauth.Pair{Name: "grant_type", Value: "refresh_token"}, oauth.Pair{Name: "refresh_token", Value: devices[at]}).RefreshToken
	}
}
