package clipstyler_test

import (
	"testing"

	"clipstyler.dev/client/go/clipstyler"
	"google.golang.org/grpc/codes"
)

func TestWhatIsNoAddressIsRefusedAtOnce(t *testing.T) {
	for _, target := range []string{"", " ", "http://127.0.0.1:50051", "https://a", "a:65536", "[::1]:99999999999999999999"} {
		_, err := clipstyler.Connect(target)
		if failure := failureOf(t, err); failure.Code != codes.InvalidArgument || failure.Reason != "INVALID_FIELD" {
			t.Errorf("%q: %v", target, err)
		}
	}
	for _, target := range []string{"a", "a:65535", "[::1]:80", "dns:///a:80", "unix:/run/a.sock"} {
		client, err := clipstyler.Connect(target)
		if err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		client.Close()
	}
}
