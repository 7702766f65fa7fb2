package oauth

// Metadata is the document of RFC 8414 §2. A device throws the query of the
// authorization endpoint away, and asks for every scope that is listed: none is.
type Metadata struct {
	Issuer                        string   `json:"issuer"`
	AuthorizationEndpoint         string   `json:"authorization_endpoint"`
	TokenEndpoint                 string   `json:"token_endpoint"`
	ResponseTypesSupported        []string `json:"response_types_supported"`
	GrantTypesSupported           []string `json:"grant_types_supported"`
	CodeChallengeMethodsSupported []string `json:"code_challenge_methods_supported"`
	TokenEndpointAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	IssParameterSupported         bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207 §3
}

// Metadata returns what clients discover.
func (s *Server) Metadata() Metadata {
	return Metadata{
		Issuer:                        s.Issuer,
		AuthorizationEndpoint:         s.Issuer + "/oauth/authorize",
		TokenEndpoint:                 s.Issuer + "/oauth/token",
		ResponseTypesSupported:        []string{"code"},
		GrantTypesSupported:           GrantTypes,
		CodeChallengeMethodsSupported: []string{MethodS256},
		TokenEndpointAuthMethods:      []string{"none", "client_secret_basic", "client_secret_post"},
		IssParameterSupported:         true,
	}
}
