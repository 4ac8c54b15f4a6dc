// Checks out, renews and releases with a client that was generated from the server's OpenAPI document.
//
//	go run . URL VERIFIER_KEY FEATURE
//
// FEATURE has one seat. What is shown is that the generated types say what the server answered. Trust is not: a program that sells seats
// verifies the server and its grants as docs/protocol.md says.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"strings"
)

func check(ok bool, what string, got any) {
	if !ok {
		fmt.Fprintf(os.Stderr, "error: %s: %+v\n", what, got)
		os.Exit(1)
	}
}

func must[T any](value T, err error) T {
	check(err == nil, "a call failed", err)
	return value
}

func text(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func random(count int) []byte {
	data := make([]byte, count)
	must(rand.Read(data))
	return data
}

func leaseOf(secret []byte) string {
	sum := sha256.Sum256(append([]byte("triquest-lm/v1/lease-id\n"), secret...))
	return hex.EncodeToString(sum[:16])
}

func main() {
	url, verifier, feature := os.Args[1], os.Args[2], os.Args[3]
	// name+id+base64(0x01 and the key); base64 has plus signs of its own.
	key := text(must(base64.StdEncoding.DecodeString(strings.SplitN(verifier, "+", 3)[2]))[1:])
	// The certificate is the server's own: nobody else vouches for it.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := must(NewClientWithResponses(url, WithHTTPClient(&http.Client{Transport: transport})))
	ctx := context.Background()

	refused := must(client.TrustWithResponse(ctx, TrustRequest{Nonce: text(random(32)), TlsSpki: text(make([]byte, 32)), VendorKeys: []Bytes32{key}}))
	check(refused.StatusCode() == 421 && refused.ApplicationproblemJSON421.Code == "misdirected", "trust", refused.Status())

	ask := func(secret []byte) CheckoutAnswer {
		user := "go"
		answer := must(client.CheckoutWithResponse(ctx, CheckoutRequest{
			Secret:     text(secret),
			Attempt:    1,
			Nonce:      text(random(32)),
			VendorKeys: []Bytes32{key},
			Items:      []Item{{Feature: feature, Seats: 1}},
			Holder:     &HolderClaim{User: &user},
		}))
		check(answer.JSON200 != nil, "checkout", string(answer.Body))
		return *answer.JSON200
	}

	secret := random(32)
	answer := ask(secret)
	granted, ok := must(answer.ValueByDiscriminator()).(CheckoutAnswerGranted)
	check(ok && granted.RemainingMs > 0 && granted.Signature != "", "granted", granted)
	var remaining uint64 = granted.RemainingMs
	check(remaining > 0, "remaining_ms is unsigned", remaining)

	answer = ask(random(32))
	denied, ok := must(answer.ValueByDiscriminator()).(CheckoutAnswerDenied)
	check(ok && denied.Denial.Code == "no_seat_free" && denied.Denial.Pool.Used == 1, "denied", denied)

	renewal := must(client.RenewWithResponse(ctx, leaseOf(secret), RenewRequest{Secret: text(secret), Nonce: text(random(16)), Counter: 1}))
	check(renewal.JSON200 != nil, "renewal", string(renewal.Body))
	renewed, ok := must(renewal.JSON200.ValueByDiscriminator()).(RenewAnswerRenewed)
	check(ok && renewed.Counter == 1, "renewed", renewed)

	released := must(client.ReleaseWithResponse(ctx, leaseOf(secret), SecretRequest{Secret: text(secret)}))
	check(released.JSON200 != nil, "released", string(released.Body))
	fmt.Println("go: checked out, denied, renewed, released")
}
