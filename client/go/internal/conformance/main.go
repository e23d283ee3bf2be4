// Command conformance plays the cases that every client of the service must pass:
//
//	go run ./internal/conformance CONTROL [CASE...]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"

	"clipstyler.dev/client/go/clipstyler"
)

// control is the address of the test's control: cases, photos, gates and servers.
type control string

func (c control) get(path string) ([]byte, error) {
	response, err := http.Get(string(c) + "/" + path)
	return body(response, err)
}

func (c control) post(path string) error {
	response, err := http.Post(string(c)+"/"+path, "", bytes.NewReader(nil))
	_, err = body(response, err)
	return err
}

func body(response *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the control answered %s", response.Status)
	}
	return io.ReadAll(response.Body)
}

func (c control) getJSON(path string, into any) error {
	data, err := c.get(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

func playCase(control control, item conformanceCase) error {
	var server struct{ GRPC string }
	if err := control.getJSON("servers/"+item.Server, &server); err != nil {
		return err
	}
	client, err := clipstyler.Connect(server.GRPC)
	if err != nil {
		return err
	}
	defer client.Close()
	return newPlayer(control, client).play(context.Background(), item.Steps)
}

func main() {
	control, names := control(os.Args[1]), os.Args[2:]
	var cases []conformanceCase
	if err := control.getJSON("cases", &cases); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	code := 0
	for _, item := range cases {
		if len(names) > 0 && !slices.Contains(names, item.Name) {
			continue
		}
		report := outcome{"name": item.Name, "ok": true, "detail": ""}
		if err := playCase(control, item); err != nil {
			report["ok"], report["detail"], code = false, err.Error(), 1
		}
		line, _ := json.Marshal(report)
		fmt.Println(string(line))
	}
	os.Exit(code)
}
