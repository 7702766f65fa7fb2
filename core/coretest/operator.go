package coretest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"
)

// Operate sends a request to the admin API and returns the status and the body.
func (s *Server) Operate(t testing.TB, method, path string, body any) (int, []byte) {
	t.Helper()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequest(method, s.AdminURL()+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.AdminToken)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, reply
}

// Must is Operate for requests that have to be carried out.
func (s *Server) Must(t testing.TB, method, path string, body any) []byte {
	t.Helper()
	status, reply := s.Operate(t, method, path, body)
	if status < 200 || status > 299 {
		t.Fatalf("%s %s answered %d: %s", method, path, status, reply)
	}
	return reply
}

// AddPerson lets somebody sign in.
func (s *Server) AddPerson(t testing.TB, email, password string) {
	t.Helper()
	s.Must(t, http.MethodPut, "/api/people/"+url.PathEscape(email), map[string]string{"password": password})
}

// Grant gives an account grants, as a billing system does.
func (s *Server) Grant(t testing.TB, account string, grants ...string) {
	t.Helper()
	s.Must(t, http.MethodPut, "/api/accounts/"+url.PathEscape(account)+"/grants", map[string][]string{"add": grants})
}

// SubjectToken makes the token of an install link.
func (s *Server) SubjectToken(t testing.TB, account string) string {
	t.Helper()
	var a struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(s.Must(t, http.MethodPost, "/api/accounts/"+url.PathEscape(account)+"/subject-token", nil), &a); err != nil {
		t.Fatal(err)
	}
	return a.Token
}
