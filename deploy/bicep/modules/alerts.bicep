// The alerts of section 12.3. The app logs one line of JSON for everything that somebody should look at; the queries
// read those lines. What Service Bus and Azure SQL know themselves comes from their metrics.
param name string
param location string
param tags object
param email string
param applicationInsightsId string
param serviceBusId string
param sqlDatabaseId string
param workspaceId string
param packageAccount string
param appId string

var lines = 'traces | extend line = parse_json(message) | extend said = tostring(line.message)'
var rules = [
  {
    name: 'integration-health'
    description: 'An integration became unhealthy, or was suspended for its credentials'
    severity: 2
    query: '${lines} | where said == "alert" and tostring(line.alert.kind) startswith "integration-" and tostring(line.alert.kind) !in ("integration-recovered", "integration-moved")'
    threshold: 0
    minutes: 5
  }
  {
    name: 'webhook-failure-rate'
    description: 'More than a fifth of the attempts at one webhook failed within the hour'
    severity: 2
    query: '${lines} | where said == "alert" and tostring(line.alert.kind) == "webhook-failure-rate"'
    threshold: 0
    minutes: 5
  }
  {
    name: 'webhook-disabled'
    description: 'A webhook was disabled because it only failed'
    severity: 3
    query: '${lines} | where said == "alert" and tostring(line.alert.kind) == "webhook-disabled"'
    threshold: 0
    minutes: 5
  }
  {
    name: 'held-deliveries'
    description: 'Deliveries that a webhook holds are about to expire'
    severity: 3
    query: '${lines} | where said == "alert" and tostring(line.alert.kind) == "held-deliveries"'
    threshold: 0
    minutes: 5
  }
  {
    name: 'sync-failed'
    description: 'A synchronisation failed'
    severity: 2
    query: '${lines} | where said == "alert" and tostring(line.alert.kind) == "sync-failed"'
    threshold: 0
    minutes: 5
  }
  {
    name: 'integration-moved'
    description: 'An address of an integration in use changed, or another field that decides where its secrets go'
    severity: 1
    query: '${lines} | where said == "alert" and tostring(line.alert.kind) == "integration-moved"'
    threshold: 0
    minutes: 5
  }
  {
    name: 'security-violation'
    description: 'A burst of refused webhooks or unknown credentials, or the audit log was tampered with'
    severity: 1
    // The counts of the app's own alert: a burst is one line with its count, and one more when it is over.
    query: '${lines} | where said == "alert" and tostring(line.alert.kind) == "security-violation" and tostring(line.alert.data.state) != "ended" and toint(coalesce(tostring(line.alert.data.count), "10")) >= 10'
    threshold: 0
    minutes: 5
  }
  {
    name: 'key-anomaly'
    description: 'An API key is used in a way that it never was'
    severity: 2
    query: '${lines} | where said == "alert" and tostring(line.alert.kind) == "key-anomaly"'
    threshold: 0
    minutes: 5
  }
  {
    name: 'anomaly'
    description: 'Traffic, failures, latency or synchronised records are far from what this hour of the week is used to'
    severity: 3
    query: '${lines} | where said == "alert" and tostring(line.alert.kind) == "anomaly"'
    threshold: 0
    minutes: 5
  }
  {
    name: 'event-loop'
    description: 'Events go round in a loop between the hub and a receiver'
    severity: 1
    query: '${lines} | where said == "alert" and tostring(line.alert.kind) == "event-loop"'
    threshold: 0
    minutes: 5
  }
  {
    name: 'unreadable-message'
    description: 'A message of a queue could not be understood'
    severity: 3
    query: '${lines} | where said == "alert" and tostring(line.alert.kind) == "unreadable-message"'
    threshold: 0
    minutes: 5
  }
  {
    name: 'api-key-refusals'
    description: 'Far more requests were refused for their credentials than a typing error explains'
    severity: 1
    // Of the lines and not of `requests`, of which sampling may leave a tenth.
    query: '${lines} | where said == "authentication refused"'
    threshold: 500
    minutes: 15
  }
  {
    name: 'rate-limit-store-down'
    description: 'API keys pass without their limit, because the table store does not answer'
    severity: 1
    query: '${lines} | where said == "alert" and tostring(line.alert.kind) == "rate-limit-store-down"'
    threshold: 0
    minutes: 5
  }
  {
    name: 'unexpected-errors'
    description: 'Requests failed on our side'
    severity: 1
    query: '${lines} | where said == "unexpected error"'
    threshold: 5
    minutes: 15
  }
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${name}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'hub'
    enabled: true
    emailReceivers: empty(email) ? [] : [
      { name: 'operators', emailAddress: email, useCommonAlertSchema: true }
    ]
  }
}

resource rule 'Microsoft.Insights/scheduledQueryRules@2023-03-15-preview' = [for one in rules: {
  name: '${one.name}-${name}'
  location: location
  tags: tags
  properties: {
    displayName: one.name
    description: one.description
    severity: one.severity
    enabled: true
    scopes: [applicationInsightsId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT${one.minutes}M'
    autoMitigate: true
    // In the first deployment the component is too new for its tables to be known to whoever would validate.
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: one.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: one.threshold
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    actions: { actionGroups: [people.id] }
  }
}]

// Whoever deploys says so first (deploy/hooks/predeploy.py tags the app, which the activity log keeps); a package that
// was written without is somebody else's. The activity log may come twenty minutes late: what is looked at is older.
resource package 'Microsoft.Insights/scheduledQueryRules@2023-03-15-preview' = {
  name: 'package-written-${name}'
  location: location
  tags: tags
  properties: {
    displayName: 'package-written'
    description: 'The deployment package was written or deleted outside of a deployment'
    severity: 1
    enabled: true
    scopes: [workspaceId]
    evaluationFrequency: 'PT30M'
    windowSize: 'PT3H'
    autoMitigate: false
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: 'StorageBlobLogs | where AccountName == "${packageAccount}" and Category in ("StorageWrite", "StorageDelete") and StatusCode startswith "2" | where TimeGenerated between (ago(60m) .. ago(30m)) | extend joined = 1 | join kind=leftouter (AzureActivity | where OperationNameValue =~ "Microsoft.Resources/tags/write" and ActivityStatusValue =~ "Success" and _ResourceId startswith "${appId}" | project announced = TimeGenerated, joined = 1) on joined | summarize announcements = countif(announced between ((TimeGenerated - 60m) .. TimeGenerated)) by CorrelationId, OperationName, Uri, CallerIpAddress, RequesterObjectId | where announcements == 0'
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    actions: { actionGroups: [people.id] }
  }
}

resource deadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'dead-letters-${name}'
  location: 'global'
  tags: tags
  properties: {
    description: 'A queue has dead letters: the infrastructure was away ten deliveries long'
    severity: 1
    enabled: true
    scopes: [serviceBusId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'dead'
          criterionType: 'StaticThresholdCriterion'
          metricName: 'DeadletteredMessages'
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Maximum'
        }
      ]
    }
    actions: [{ actionGroupId: people.id }]
  }
}

resource databaseLoad 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'database-load-${name}'
  location: 'global'
  tags: tags
  properties: {
    description: 'The database has used over 90 % of its DTUs for a quarter of an hour'
    severity: 2
    enabled: true
    scopes: [sqlDatabaseId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'dtu'
          criterionType: 'StaticThresholdCriterion'
          metricName: 'dtu_consumption_percent'
          operator: 'GreaterThan'
          threshold: 90
          timeAggregation: 'Average'
        }
      ]
    }
    actions: [{ actionGroupId: people.id }]
  }
}
