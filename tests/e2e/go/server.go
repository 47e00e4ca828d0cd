package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// A penstock on a free port of loopback with a data directory of its own, stopped by its process id.
type server struct {
	process *exec.Cmd
	dataDir string
	address string
}

func startServer(binary string, options ...string) (*server, error) {
	dataDir, err := os.MkdirTemp("", "penstock-go-")
	if err != nil {
		return nil, err
	}
	arguments := append([]string{"--listen", "127.0.0.1:0", "--data-dir", dataDir, "--print-ready", "--log-level", "warn"}, options...)
	process := exec.Command(binary, arguments...)
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the server said nothing: %w", err)
	}
	return &server{process, dataDir, strings.TrimSpace(strings.TrimPrefix(line, "listening "))}, nil
}

func (s *server) stop() error {
	defer os.RemoveAll(s.dataDir)
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.process.Wait()
}

// The SDK's own HTTP client, with its defaults. It counts what protocol each answer came by, and takes one race out of the SDK: to a body
// that net/http does not know to be in memory, the answer can be there before the writer has seen its end; the SDK then closes the body, the
// writer takes that for an error, and the connection is closed under a subscription that has just begun ("use of closed network connection",
// aws-sdk-go-v2 issue 2737). Over loopback and HTTP/1.1 that is one subscription in eight.
type protocols struct {
	http.RoundTripper
	mutex sync.Mutex
	seen  map[string]int
}

func (p *protocols) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err = errors.Join(err, request.Body.Close()); err != nil {
		return nil, err
	}
	request = request.Clone(request.Context())
	request.Body = io.NopCloser(bytes.NewReader(body))
	response, err := p.RoundTripper.RoundTrip(request)
	if err == nil {
		p.mutex.Lock()
		p.seen[response.Proto]++
		p.mutex.Unlock()
	}
	return response, err
}

func (s *server) client(scheme string) (*kinesis.Client, *protocols, error) {
	standard := awshttp.NewBuildableClient()
	if scheme == "https" {
		pem, err := os.ReadFile(filepath.Join(s.dataDir, "tls", "ca.pem"))
		if err != nil {
			return nil, nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		standard = standard.WithTransportOptions(func(transport *http.Transport) {
			transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		})
	}
	seen := &protocols{RoundTripper: standard.GetTransport(), seen: map[string]int{}}
	return kinesis.New(kinesis.Options{
		BaseEndpoint:     aws.String(scheme + "://" + s.address),
		Region:           "us-east-1",
		Credentials:      credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		HTTPClient:       &http.Client{Transport: seen},
		RetryMaxAttempts: 1,
	}), seen, nil
}
