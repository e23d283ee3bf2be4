package clipstyler

import "context"

// Token is a bearer token that every call shows, over TLS only:
//
//	clipstyler.Connect(target,
//		grpc.WithTransportCredentials(credentials.NewTLS(nil)),
//		grpc.WithPerRPCCredentials(clipstyler.Token(token)))
type Token string

// GetRequestMetadata returns the header that shows the token.
func (t Token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

// RequireTransportSecurity keeps the token from leaving this machine without encryption.
func (Token) RequireTransportSecurity() bool { return true }

// String keeps the token out of logs.
func (Token) String() string { return "clipstyler.Token" }

// GoString keeps the token out of logs.
func (t Token) GoString() string { return t.String() }
