package clipstyler_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"clipstyler.dev/client/go/clipstyler"
	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

type authorizations struct {
	pb.UnimplementedServerServiceServer
	shown []string
}

func (s *authorizations) GetServerInfo(ctx context.Context, _ *pb.GetServerInfoRequest) (*pb.GetServerInfoResponse, error) {
	s.shown = append(s.shown, metadata.ValueFromIncomingContext(ctx, "authorization")...)
	return &pb.GetServerInfoResponse{}, nil
}

// certified returns a certificate of this machine that signs itself, and those who believe it.
func certified(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, authorities
}

func TestEveryCallShowsTheToken(t *testing.T) {
	certificate, authorities := certified(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, service := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&certificate))), &authorizations{}
	pb.RegisterServerServiceServer(server, service)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	client, err := clipstyler.Connect(listener.Addr().String(),
		grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(authorities, "")),
		grpc.WithPerRPCCredentials(clipstyler.Token("secret")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if _, err := client.ServerInfo(t.Context()); err != nil || fmt.Sprint(service.shown) != "[Bearer secret]" {
		t.Errorf("%v, %v", service.shown, err)
	}
}

func TestATokenIsNotSentWithoutEncryption(t *testing.T) {
	_, err := clipstyler.Connect("example.org:50051", grpc.WithPerRPCCredentials(clipstyler.Token("secret")))
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func TestATokenIsNotPrinted(t *testing.T) {
	token := clipstyler.Token("secret")
	if printed := fmt.Sprintf("%v %+v %#v %s", token, token, token, token); strings.Contains(printed, "secret") {
		t.Error(printed)
	}
}
