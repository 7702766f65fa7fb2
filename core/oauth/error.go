package oauth

import (
	"fmt"
	"net/http"
)

// Code is an error code of RFC 6749 §4.1.2.1 and §5.2.
type Code string

// The error codes.
const (
	AccessDenied            Code = "access_denied"
	InvalidClient           Code = "invalid_client"
	InvalidGrant            Code = "invalid_grant"
	InvalidRequest          Code = "invalid_request"
	InvalidScope            Code = "invalid_scope"
	ServerError             Code = "server_error"
	TemporarilyUnavailable  Code = "temporarily_unavailable"
	UnauthorizedClient      Code = "unauthorized_client"
	UnsupportedGrantType    Code = "unsupported_grant_type"
	UnsupportedResponseType Code = "unsupported_response_type"
)

// Error is a protocol answer. Description is for the client's developer and
// never carries the cause; the log has that.
type Error struct {
	Code        Code
	Description string
	// Redirect is set where the error travels to the client through the browser
	// (RFC 6749 §4.1.2.1); otherwise the person sees a page and no redirect.
	Redirect string
	cause    error
}

// Errorf makes a protocol answer from a sentence that the client may read.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Description: fmt.Sprintf(format, args...)}
}

// because keeps what the answer was caused by, for the log.
func (e *Error) because(err error) *Error {
	e.cause = err
	return e
}

// Error implements error; its text is for the log.
func (e *Error) Error() string {
	s := "oauth: " + string(e.Code)
	if e.Description != "" {
		s += ": " + e.Description
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Status is the HTTP status of the answer (RFC 6749 §5.2).
func (e *Error) Status() int {
	switch e.Code {
	case InvalidClient:
		return http.StatusUnauthorized
	case TemporarilyUnavailable:
		return http.StatusServiceUnavailable
	case ServerError:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}
